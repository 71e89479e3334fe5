"""Faults of data: files of the lake, limits of the online store, and the world itself."""
