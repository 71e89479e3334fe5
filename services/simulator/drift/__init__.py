"""The effects of caused drift on a world's days."""
