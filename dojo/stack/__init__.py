"""The embedded stack: one table of processes, and what starts, watches and explains them."""
