"""The streamer: events -> sliding windows per view and entity -> Feast push.

`windows` keeps what every entity did lately in Redis, `feature_repo.windows` computes a view's row from it, `streamer` does one batch,
`__main__` wires them up.
"""
