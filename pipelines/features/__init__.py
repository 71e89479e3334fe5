"""Feature computation: lake -> offline store -> online store.

`compute` (`batch`, `streaming`) says how each stored feature is computed, `offline` writes the values by day, `materialize` brings them online,
`point_in_time` joins them to training examples; `__main__` keeps a running world's features fresh.
"""
