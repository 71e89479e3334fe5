"""Statistics as pure NumPy functions, without data frames and I/O.

Tests hold each function against a known library or a published figure.
"""
