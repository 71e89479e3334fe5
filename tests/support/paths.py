"""A directory name with every character that some library takes for a pattern, a query, an escape or markup."""

STRANGE_NAME = "a [b]{c} *?%20#ü"
