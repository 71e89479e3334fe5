"""The streamer: events -> sliding windows per view and entity -> rows online.

`windows` keeps each entity's recent events in Redis. `feature_repo.windows` computes a view's row
from them. `streamer` does one batch, and `__main__` wires them up.
"""
