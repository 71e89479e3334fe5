"""How sure a figure is, by intervals, bootstrap and tests that stay valid at every look."""
