"""The kinds of prediction, their specs and their differences in training, serving, monitoring."""
