"""Feature computation: lake -> offline store -> online store.

`feature_repo` says how each stored feature is computed. `offline` writes the values by day, `materialize` brings them online,
`point_in_time` joins them to training examples, `skew` holds what was served against them.
"""
