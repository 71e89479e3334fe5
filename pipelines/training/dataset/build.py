"""Step 3: examples with the features that serving would have seen, joined point in time by Feast.

The views are computed into the run's own workspace, from the pinned rows only: a rebuild does not depend on what the shared offline
store holds by then.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import content_hash
from feature_repo import catalog
from feature_repo.store import open_store
from feature_repo.views import STREAMING_MEMORY
from pipelines.features.offline import build_offline
from pipelines.features.point_in_time import point_in_time_rows

DATASET_FILE = "dataset.parquet"

# How far before the first example a stored value may lie that it still sees: a streaming row's
# memory, and the day that holds it.
LOOK_BACK = STREAMING_MEMORY + timedelta(days=1)

# Feast's configuration wants an online store; the join reads files only and never connects.
NO_ONLINE_STORE = "redis://127.0.0.1:6379"

Progress = Callable[[str, float], None]


def label_examples(transactions: pl.DataFrame, outcomes: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """One example per labelled payment with start <= world_time < end, in order of time and id.

    Args:
        outcomes: One model's, with columns request_id and label.

    Columns: transaction_id, customer_id, merchant_id, event_timestamp, amount, label.
    """
    return (
        transactions.filter(pl.col("world_time").is_between(start, end, closed="left"))
        .join(outcomes.select("request_id", "label"), left_on="transaction_id", right_on="request_id", how="inner")
        .select(
            "transaction_id", "customer_id", "merchant_id", pl.col("world_time").alias("event_timestamp"), "amount", "label"
        )
        .sort("event_timestamp", "transaction_id")
    )


def join_features(
    transactions: pl.DataFrame,
    outcomes: pl.DataFrame,
    examples: pl.DataFrame,
    service: str,
    workspace: Path,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """`examples` with the service's features (Float32, as served) and the stored values behind them, in the examples' order.

    Args:
        transactions, outcomes: lake columns, everything known; features take of it what was known at each example's time.
        workspace: gets the offline store (`offline/`) and Feast's registry.
    """
    first, last = examples["event_timestamp"].min(), examples["event_timestamp"].max()
    oldest = transactions["world_time"].min()
    if not (isinstance(first, datetime) and isinstance(last, datetime) and isinstance(oldest, datetime)):
        raise ValueError("no examples to join features to")
    offline = workspace / "offline"
    build_from = max(oldest, datetime.combine(first.date(), time(), UTC) - LOOK_BACK)
    streams = {Stream.TRANSACTIONS: transactions, Stream.OUTCOMES: outcomes}
    build_offline(streams, offline, build_from.date(), last.date(), progress, catalog.views_of(service))
    store = open_store(offline, NO_ONLINE_STORE, workspace / "feast_registry.db")
    rows: pl.DataFrame = point_in_time_rows(store, service, examples)
    return rows.sort("event_timestamp", "transaction_id")


def stored_features(service: str) -> tuple[str, ...]:
    """The stored values that a service needs, directly or for its request-time features, in the catalogue's order."""
    return tuple(name for _, name in catalog.stored_of(service))


def dataset_hash(dataset: pl.DataFrame, service: str) -> str:
    """SHA-256 of what the model learns from: ids, times, labels and features, independent of file format."""
    return content_hash(dataset, ["transaction_id", "event_timestamp", "label", *catalog.SERVICES[service].features])


def feature_hash() -> str:
    """SHA-256 of what decides feature values: catalogue, request-time formulas and computation."""
    return catalog.definition_hash()
