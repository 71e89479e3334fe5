"""Ranking: rows compete in lists. The score orders a list, its scale means nothing; the candidates that score like a list's top are flagged."""
