"""Models beside the shop's own, over its entities: a spec of each task, and their features.

DOJO_FEATURE_MODULES names `features`.
"""
