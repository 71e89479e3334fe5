"""Feature computation: lake -> offline store -> online store.

`feature_repo` defines how each stored feature is computed. `offline` writes the values by day, and
`materialize` brings them online. `point_in_time` joins them to training examples, and `skew`
compares served values with them.
"""
