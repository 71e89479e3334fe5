"""Ranking: rows compete in lists.

The score orders a list, and its scale means nothing. Candidates with scores like a list's top are
flagged.
"""
