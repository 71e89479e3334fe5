"""The streamer: transactions -> sliding windows per entity -> Feast push.

`windows` keeps the last day of every entity in Redis, `activity` computes a view's row from a window, `streamer` does one batch,
`__main__` wires them up.
"""
