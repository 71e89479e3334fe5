"""The offline store: feature values as Parquet files, one per view and day.

    <directory>/<view>/date=2018-06-10.parquet

A batch view's file holds the midnight that begins its day, a streaming view's the day's transactions. Files are
replaced whole, and the same lake rows give the same content: re-runs and late events change nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl

from dojo.core.lake import write_parquet_atomically
from feature_repo.catalog import PUBLISH_DELAY, VIEWS
from pipelines.features import batch, compute, streaming

# (what, share done within [0, 1])
Progress = Callable[[str, float], None]

# How far each view looks back from the first moment of a day.
REACH = {
    "customer_daily": timedelta(days=batch.CUSTOMER_MEMORY_DAYS + 1),
    "merchant_daily": timedelta(days=batch.MERCHANT_MEMORY_DAYS + 1),
    "customer_activity": timedelta(hours=24),
    "merchant_activity": timedelta(hours=1),
}

# How far the lake must reach back before the first day that is built.
HISTORY = max(REACH.values())

# Days computed and written at a time: bounds memory to a month's rows, whatever the span.
DAYS_AT_ONCE = 31


def offline_file(directory: Path, view: str, day: date) -> Path:
    return directory / view / f"date={day.isoformat()}.parquet"


def build_offline(
    transactions: pl.DataFrame,
    outcomes: pl.DataFrame,
    directory: Path,
    start: date,
    end: date,
    progress: Progress | None = None,
) -> None:
    """Compute and write every view's files of the days from `start` to `end`, both included.

    Args:
        transactions, outcomes: lake columns; rows from HISTORY before `start` on are used, later and earlier ones ignored.
            A row that is there twice counts once.
    """
    transactions = transactions.unique("transaction_id", keep="first", maintain_order=True)
    outcomes = outcomes.unique(["model", "request_id"], keep="first", maintain_order=True)
    days = [start + timedelta(days=offset) for offset in range((end - start).days + 1)]
    blocks = [days[i : i + DAYS_AT_ONCE] for i in range(0, len(days), DAYS_AT_ONCE)]
    steps, done = len(blocks) * len(VIEWS), 0
    for block in blocks:
        for view in VIEWS:
            rows = _compute(view, transactions, outcomes, block)
            _write(rows, view, directory, block)
            done += 1
            if progress is not None:
                progress(view, done / steps)


def _compute(view: str, transactions: pl.DataFrame, outcomes: pl.DataFrame, days: list[date]) -> pl.DataFrame:
    """The view's rows of `days`, with the day of their file as `_day`."""
    first, end = _midnight(days[0]), _midnight(days[-1] + timedelta(days=1))
    past = _since(transactions, first - REACH[view], end)
    if view == "customer_daily":
        return _with_day(compute.customer_daily(past, days), PUBLISH_DELAY)
    if view == "merchant_daily":
        return _with_day(compute.merchant_daily(past, outcomes, days), PUBLISH_DELAY)
    computed = compute.customer_activity(past) if view == "customer_activity" else compute.merchant_activity(past)
    return _with_day(computed, streaming.JUST_AFTER)


def _with_day(rows: pl.DataFrame, after: timedelta) -> pl.DataFrame:
    return rows.with_columns((pl.col("event_timestamp") - after).dt.date().alias("_day"))


def _write(rows: pl.DataFrame, view: str, directory: Path, days: list[date]) -> None:
    by_day = rows.partition_by("_day", as_dict=True, include_key=False)
    empty = rows.drop("_day").clear()
    for day in days:
        write_parquet_atomically(by_day.get((day,), empty), offline_file(directory, view, day))


def _since(transactions: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    return transactions.filter(pl.col("world_time").is_between(start, end, closed="left"))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
