"""Regression: a row has a value.

The score is the predicted value, in the label's unit. Nothing is flagged.
"""
