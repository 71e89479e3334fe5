"""How every stored feature is computed: pure Polars, lake rows in, feature rows out. What each means: feature_repo/catalog.py.

Money is summed in whole cents: integer sums do not depend on order, so a re-run, a larger history and the streamer all
get the same sums.
"""

from __future__ import annotations

from pipelines.features import batch, columns, streaming
from pipelines.features.batch import customer_daily, merchant_daily
from pipelines.features.streaming import customer_activity, merchant_activity

__all__ = ["MODULES", "customer_activity", "customer_daily", "merchant_activity", "merchant_daily"]

# What `catalog.definition_hash` must cover: a change in any of them may change values.
MODULES = (batch, streaming, columns)
