"""Counts over fixed bins: how a distribution is kept, added up and compared."""
