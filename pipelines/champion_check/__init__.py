"""Is the champion still as good as on its own holdout?"""
