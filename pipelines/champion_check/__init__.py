"""Tests if the champion is still as good as on its own holdout."""
