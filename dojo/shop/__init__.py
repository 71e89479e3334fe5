"""The example domain: a shop's transactions, and the possible changes of its world."""
