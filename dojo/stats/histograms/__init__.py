"""Counts over fixed bins, the form in which a distribution is kept, added up and compared."""
