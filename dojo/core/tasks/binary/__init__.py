"""Binary classification: a row is positive or not.

The score is the probability of the positive class, and a high score is flagged.
"""
