"""Verdicts as metrics."""
