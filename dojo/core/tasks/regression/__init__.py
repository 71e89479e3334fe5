"""Regression: a row has a value. The score is the predicted value, in the label's unit; nothing is flagged."""
