"""A version's training data: collected, checked, joined with features and split."""
