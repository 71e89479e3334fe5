"""What is known about each customer at a midnight.

A midnight's rows depend only on earlier events. So a day computed alone equals the same day in a
year's run.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl

from feature_repo.columns import as_view, between, keys_of, ratio, scaled, unscaled, within
from feature_repo.shop.customers import CUSTOMER_DAILY, CUSTOMER_MEMORY_DAYS
from feature_repo.shop.payments import CENTS_PER_EURO, LABEL_DELAY_DAYS
from feature_repo.views import published_at


def customer_daily(transactions: pl.DataFrame, days: Iterable[date]) -> pl.DataFrame:
    """Return the customer_daily view at the midnights that begin `days`.

    Args:
        transactions: Lake columns, unique by transaction_id. They reach back CUSTOMER_MEMORY_DAYS +
            1 days before the first day.
        days: The wanted days.

    Returns:
        customer_id, event_timestamp, features (Float64). One row per midnight and customer seen
        within the memory.
    """
    by_day = (
        transactions.lazy()
        .select(
            pl.col("customer_id").cast(keys_of(transactions, "customer_id")),
            day=pl.col("world_time").dt.date(),
            cents=scaled("amount", CENTS_PER_EURO),
        )
        .group_by("customer_id", "day")
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            pl.col("cents").sum().alias("sum"),
            (pl.col("cents").cast(pl.Float64) ** 2).sum().alias("squares"),
            pl.col("cents").max().alias("max"),
        )
        .sort("day")
        .collect()
    )
    rows = [_customers_at(between(by_day, day, CUSTOMER_MEMORY_DAYS + 1), day) for day in days]
    return as_view(pl.concat(rows) if rows else pl.DataFrame(), CUSTOMER_DAILY)


def _customers_at(by_day: pl.DataFrame, midnight: date) -> pl.DataFrame:
    def last(column: str, days: int) -> pl.Expr:
        return pl.col(column).filter(within(midnight, days))

    settled = pl.col("max").filter(within(midnight, 30, LABEL_DELAY_DAYS))
    sums = by_day.group_by("customer_id").agg(
        *(
            last(column, days).sum().alias(f"{column}_{days}")
            for column in ("count", "sum")
            for days in (1, 7, 30)
        ),
        last("squares", 30).sum().alias("squares_30"),
        last("max", 7).max().alias("max_7"),
        settled.max().alias("max_settled"),
    )
    mean_30 = pl.col("sum_30") / pl.col("count_30")
    variance_30 = (pl.col("squares_30") / pl.col("count_30") - mean_30**2).clip(0)
    return sums.select(
        "customer_id",
        pl.lit(published_at(midnight)).alias("event_timestamp"),
        *(pl.col(f"count_{days}").alias(f"customer_tx_count_{days}d") for days in (1, 7, 30)),
        *(
            ratio(f"sum_{days}", f"count_{days}", CENTS_PER_EURO).alias(
                f"customer_amount_mean_{days}d"
            )
            for days in (1, 7, 30)
        ),
        unscaled(variance_30.sqrt(), CENTS_PER_EURO).alias("customer_amount_std_30d"),
        unscaled(pl.col("max_7"), CENTS_PER_EURO).alias("customer_amount_max_7d"),
        unscaled(pl.col("max_settled"), CENTS_PER_EURO).alias("customer_amount_max_30d_settled"),
    )
