"""Statistics as pure NumPy functions: no data frames, no I/O, each held by tests against a known library or a published figure."""
