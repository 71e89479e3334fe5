"""How sure a figure is: intervals, bootstrap and tests that may look often."""
