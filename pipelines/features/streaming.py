"""Streaming features of the past: each entity's state at each of its transactions.

The running world's are kept by services/streamer, which a test holds to these.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from feature_repo.catalog import CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY
from pipelines.features.columns import as_view, cents, in_euro

# A streaming row becomes visible right after its transaction, so that the transaction itself never sees it.
JUST_AFTER = timedelta(microseconds=1)


def customer_activity(transactions: pl.DataFrame) -> pl.DataFrame:
    """The customer_activity view: the state at each transaction, which it includes; reads 24 hours back."""
    window = _Windows(transactions, "customer_id")
    return as_view(
        window.rows.select(
            "customer_id",
            pl.col("world_time") + JUST_AFTER,
            window.seconds().alias("customer_last_tx_time"),
            window.count("1h").alias("customer_last_tx_count_1h"),
            window.amount("1h").alias("customer_last_amount_1h"),
            window.count("24h").alias("customer_last_tx_count_24h"),
            window.amount("24h").alias("customer_last_amount_24h"),
            window.largest("24h").alias("customer_last_amount_max_24h"),
        ).rename({"world_time": "event_timestamp"}),
        CUSTOMER_ACTIVITY,
    )


def merchant_activity(transactions: pl.DataFrame) -> pl.DataFrame:
    """The merchant_activity view: the state at each transaction, which it includes; reads one hour back."""
    window = _Windows(transactions, "merchant_id")
    return as_view(
        window.rows.select(
            "merchant_id",
            pl.col("world_time") + JUST_AFTER,
            window.seconds().alias("merchant_last_tx_time"),
            window.count("1h").alias("merchant_last_tx_count_1h"),
            window.amount("1h").alias("merchant_last_amount_1h"),
        ).rename({"world_time": "event_timestamp"}),
        MERCHANT_ACTIVITY,
    )


class _Windows:
    """Sliding windows (t - length, t] over one entity's transactions."""

    def __init__(self, transactions: pl.DataFrame, key: str) -> None:
        self._key = key
        self.rows = transactions.select(key, "world_time", cents=cents(), one=pl.lit(1, pl.Int64)).sort(key, "world_time")

    def seconds(self) -> pl.Expr:
        return pl.col("world_time").dt.epoch("us") / 1_000_000

    def count(self, length: str) -> pl.Expr:
        return pl.col("one").rolling_sum_by("world_time", length, closed="right").over(self._key)

    def amount(self, length: str) -> pl.Expr:
        return in_euro(pl.col("cents").rolling_sum_by("world_time", length, closed="right").over(self._key))

    def largest(self, length: str) -> pl.Expr:
        return in_euro(pl.col("cents").rolling_max_by("world_time", length, closed="right").over(self._key))
