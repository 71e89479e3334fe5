"""Batch features: the knowledge about each customer and merchant at a midnight.

A midnight's rows depend only on earlier events. So a day computed alone equals the same day in a
year's run.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import polars as pl

from feature_repo.columns import as_view, scaled, unscaled
from feature_repo.shop.customers import CUSTOMER_DAILY, CUSTOMER_MEMORY_DAYS
from feature_repo.shop.merchants import (
    DAYS_CAP,
    MERCHANT_DAILY,
    MERCHANT_MEMORY_DAYS,
    STREAK_GAP_DAYS,
)
from feature_repo.shop.payments import CENTS_PER_EURO, LABEL_DELAY
from feature_repo.views import published_at

LABEL_DELAY_DAYS = LABEL_DELAY.days


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
            pl.col("customer_id").cast(pl.Categorical),
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
    rows = [_customers_at(_between(by_day, day, CUSTOMER_MEMORY_DAYS + 1), day) for day in days]
    return as_view(pl.concat(rows) if rows else pl.DataFrame(), CUSTOMER_DAILY)


def _customers_at(by_day: pl.DataFrame, midnight: date) -> pl.DataFrame:
    def last(column: str, days: int) -> pl.Expr:
        return pl.col(column).filter(_within(midnight, days))

    settled = pl.col("max").filter(_within(midnight, 30, LABEL_DELAY_DAYS))
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
            _ratio(f"sum_{days}", f"count_{days}", CENTS_PER_EURO).alias(
                f"customer_amount_mean_{days}d"
            )
            for days in (1, 7, 30)
        ),
        unscaled(variance_30.sqrt(), CENTS_PER_EURO).alias("customer_amount_std_30d"),
        unscaled(pl.col("max_7"), CENTS_PER_EURO).alias("customer_amount_max_7d"),
        unscaled(pl.col("max_settled"), CENTS_PER_EURO).alias("customer_amount_max_30d_settled"),
    )


def merchant_daily(
    transactions: pl.DataFrame, outcomes: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the merchant_daily view at the midnights that begin `days`.

    Args:
        transactions: Lake columns, unique by transaction_id. They reach back MERCHANT_MEMORY_DAYS +
            1 days before the first day.
        outcomes: Lake columns, in the order they became known. At a midnight the latest earlier
            outcome counts.
        days: The wanted days.

    Returns:
        merchant_id, event_timestamp, features (Float64). One row per midnight and merchant seen
        within the memory.
    """
    # Only these columns, because the join below then takes a third of the memory.
    needed = transactions.select("transaction_id", "merchant_id", "world_time")
    labelled = label_known_from(needed, outcomes).select(
        pl.col("merchant_id").cast(pl.Categorical),
        pl.col("world_time").dt.date().alias("day"),
        "new",
        "gained",
        "known_from",
    )
    by_day = (
        labelled.lazy()
        .group_by("merchant_id", "day")
        .agg(
            pl.col("new").sum().alias("count"),
            # The first midnight with all of the day's labels known. Null while one is missing.
            pl.when(pl.col("known_from").null_count() == 0)
            .then(pl.col("known_from").filter(pl.col("new") == 1).max())
            .alias("complete_from"),
        )
        .sort("day")
        .collect()
    )
    # Nearly every label is known when its delay is over. Later labels and corrections count from
    # the midnight after their arrival.
    by_arrival = (
        labelled.lazy()
        .drop_nulls("known_from")
        .group_by("merchant_id", "day", "known_from")
        .agg(pl.col("new").sum().alias("labels"), pl.col("gained").sum().alias("frauds"))
        .sort("day")
        .collect()
    )
    rows = [_merchants_at(by_day, by_arrival, day) for day in days]
    return as_view(pl.concat(rows) if rows else pl.DataFrame(), MERCHANT_DAILY)


def label_known_from(transactions: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each outcome of a transaction, and one for each transaction without any.

    Args:
        outcomes: In the order they became known.

    Returns:
        The transactions' columns, `new`, `gained` and `known_from`. `new` is 1 where the
        transaction appears first, 0 in the rows of corrections. `gained` is what the label adds to
        the frauds known before, -1 to 1, null without an outcome. `known_from` is the first
        midnight for using the outcome, null without one. From then on, the outcome has arrived, and
        the label delay is over for the whole day of the transaction.
    """
    # Few labels are corrected, and a window over all of a month's would take longer than the rest.
    several = outcomes["request_id"].is_duplicated()
    corrected, plain = outcomes.filter(several), outcomes.filter(~several)
    before = pl.col("label").shift(1).over("request_id")
    parts = (
        rows.select(
            transaction_id="request_id",
            new=previous.is_null().cast(pl.Int64),
            gained=(pl.col("label") - previous.fill_null(0)).cast(pl.Int64),
            arrival=pl.col("world_time").dt.date(),
        )
        for rows, previous in ((plain, pl.lit(None, dtype=pl.Float64)), (corrected, before))
    )
    arrived = pl.concat(parts)
    delay_over = pl.col("world_time").dt.date() + timedelta(days=LABEL_DELAY_DAYS + 1)
    return transactions.join(arrived, on="transaction_id", how="left").with_columns(
        pl.col("new").fill_null(1),
        pl.when(pl.col("arrival").is_not_null())
        .then(pl.max_horizontal(delay_over, pl.col("arrival") + timedelta(days=1)))
        .alias("known_from"),
    )


def _merchants_at(by_day: pl.DataFrame, by_arrival: pl.DataFrame, midnight: date) -> pl.DataFrame:
    past = _between(by_day, midnight, MERCHANT_MEMORY_DAYS + 1)
    known = _between(by_arrival, midnight, MERCHANT_MEMORY_DAYS).filter(
        pl.col("known_from") <= midnight
    )

    seen = past.group_by("merchant_id").agg(pl.col("day").max().alias("last_seen"))
    counts = (
        _between(past, midnight, 30)
        .group_by("merchant_id")
        .agg(
            *(
                pl.col("count")
                .filter(_within(midnight, days))
                .sum()
                .alias(f"merchant_tx_count_{days}d")
                for days in (1, 7, 30)
            )
        )
    )
    settled = (
        _between(known, midnight, 30 + LABEL_DELAY_DAYS)
        .group_by("merchant_id")
        .agg(
            *(
                pl.col(column)
                .filter(_within(midnight, days, LABEL_DELAY_DAYS))
                .sum()
                .alias(f"{column}_{days}")
                for column, windows in (("labels", (1, 7, 30)), ("frauds", (1, 7, 14, 30)))
                for days in windows
            )
        )
    )
    latest_complete = (
        past.filter((pl.col("complete_from") <= midnight) & _within(midnight, MERCHANT_MEMORY_DAYS))
        .join(
            known.group_by("merchant_id", "day").agg(pl.col("frauds").sum()),
            on=["merchant_id", "day"],
            maintain_order="left",
        )
        .group_by("merchant_id")
        # Rows are in order of day.
        .agg((pl.col("frauds").last() / pl.col("count").last()).alias("merchant_last_risk"))
    )
    rows = seen
    for part in (counts, settled, latest_complete, _fraud_ages(known, midnight)):
        rows = rows.join(part, on="merchant_id", how="left")
    remembered = pl.col("last_seen") >= midnight - timedelta(days=MERCHANT_MEMORY_DAYS)
    return rows.select(
        "merchant_id",
        pl.lit(published_at(midnight)).alias("event_timestamp"),
        *(f"merchant_tx_count_{days}d" for days in (1, 7, 30)),
        *(
            _ratio(f"frauds_{days}", f"labels_{days}").alias(f"merchant_risk_{days}d")
            for days in (1, 7, 30)
        ),
        *(pl.col(f"frauds_{days}").alias(f"merchant_fraud_count_{days}d") for days in (14, 30)),
        "merchant_last_risk",
        *(
            pl.when(remembered)
            .then(pl.col(name).fill_null(DAYS_CAP).clip(upper_bound=DAYS_CAP))
            .otherwise(0.0)
            .alias(name)
            for name in ("merchant_fraud_age_days", "merchant_streak_age_days")
        ),
    )


def _fraud_ages(known: pl.DataFrame, midnight: date) -> pl.DataFrame:
    """Return the days from the latest known fraud and from its streak's beginning to `midnight`.

    One row per merchant with a known fraud.
    """
    by_day = known.group_by("merchant_id", "day").agg(pl.col("frauds").sum())
    fraud_days = (
        by_day.filter(pl.col("frauds") > 0).select("merchant_id", "day").sort("merchant_id", "day")
    )
    gap = pl.col("day") - pl.col("day").shift(1).over("merchant_id")
    begins = (gap > timedelta(days=STREAK_GAP_DAYS)).fill_null(True)
    return (
        fraud_days.with_columns(begins.alias("begins"))
        .group_by("merchant_id")
        .agg(
            pl.col("day").max().alias("latest"),
            pl.col("day").filter(pl.col("begins")).max().alias("begin"),
        )
        .select(
            "merchant_id",
            *(
                (pl.lit(midnight) - pl.col(day)).dt.total_days().cast(pl.Float64).alias(name)
                for day, name in (
                    ("latest", "merchant_fraud_age_days"),
                    ("begin", "merchant_streak_age_days"),
                )
            ),
        )
    )


def _within(midnight: date, days: int, delay: int = 0) -> pl.Expr:
    """Return the condition for the `days` days that ended `delay` days before `midnight`."""
    return pl.col("day").is_between(
        midnight - timedelta(days=days + delay), midnight - timedelta(days=delay), closed="left"
    )


def _between(by_day: pl.DataFrame, midnight: date, days: int) -> pl.DataFrame:
    """Return the rows of the `days` days before `midnight`, of a frame sorted by day.

    A slice, no copy.
    """
    first = by_day["day"].search_sorted(midnight - timedelta(days=days), side="left")
    last = by_day["day"].search_sorted(midnight, side="left")
    return by_day.slice(first, last - first)


def _ratio(numerator: str, denominator: str, scale: int = 1) -> pl.Expr:
    """Return numerator / denominator / scale, and 0 where the denominator is 0."""
    return (
        pl.when(pl.col(denominator) > 0)
        .then(pl.col(numerator) / pl.col(denominator) / scale)
        .otherwise(0.0)
    )
