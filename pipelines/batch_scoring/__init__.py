"""A world day's requests scored at once by the bundle that answers online (D13)."""
