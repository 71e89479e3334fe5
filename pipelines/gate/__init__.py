"""Compares the challenger with the champion on the same holdout, decides and reports."""
