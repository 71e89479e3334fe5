"""A directory's name with what some library takes for a pattern, a query, an escape or markup."""

STRANGE_NAME = "a [b]{c} *?%20#ü"
