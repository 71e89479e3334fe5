"""The example domain: a shop's transactions, and what can change in its world."""
