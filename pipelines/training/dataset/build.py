"""Step 3: adds features to the examples, as serving would have seen them.

Feast joins them point in time. The views are computed into the run's own workspace, from the pinned
rows only. So a rebuild does not depend on the later content of the shared offline store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import polars as pl

from dojo.core.labels import WEIGHT, weights_of
from dojo.core.lake import content_hash
from feature_repo import catalog
from feature_repo.store import open_store
from feature_repo.views import STREAMING_MEMORY
from pipelines.features.offline import build_offline
from pipelines.features.point_in_time import point_in_time_rows

DATASET_FILE = "dataset.parquet"

# Largest age of a stored value that the first example can still see. It is a streaming row's
# memory, and the day with that row.
LOOK_BACK = STREAMING_MEMORY + timedelta(days=1)

# Feast's configuration wants an online store. The join reads files only and never connects.
NO_ONLINE_STORE = "redis://127.0.0.1:6379"

Progress = Callable[[str, float], None]


def label_examples(
    requests: pl.DataFrame, outcomes: pl.DataFrame, service: str, start: datetime, end: datetime
) -> pl.DataFrame:
    """Return one example per labelled request with start <= world_time < end.

    Args:
        requests: Lake rows of the events that the service's requests are about.
        outcomes: One model's, one per request, with columns request_id, label and weight. A null
            label teaches nothing.

    Columns: request_id, the entities' keys, event_timestamp, the request's inputs, label, weight.
    """
    recorded, keys = (
        catalog.recorded_requests(service),
        dict.fromkeys(view.key for view in catalog.views_of(service)),
    )
    return (
        requests.filter(pl.col("world_time").is_between(start, end, closed="left"))
        .join(
            outcomes.drop_nulls("label").select(
                pl.col("request_id").alias(recorded.key), "label", weight=WEIGHT
            ),
            on=recorded.key,
            how="inner",
        )
        .select(
            pl.col(recorded.key).alias("request_id"),
            *keys,
            pl.col("world_time").alias("event_timestamp"),
            *catalog.SERVICES[service].request.names,
            "label",
            "weight",
        )
        .sort("event_timestamp", "request_id")
    )


def join_features(
    streams: Mapping[str, pl.DataFrame],
    examples: pl.DataFrame,
    service: str,
    workspace: Path,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Return `examples` with the service's features and the stored values behind them.

    Features are Float32, as served. Rows are in order of time and id.

    Args:
        streams: Lake rows, all that are known. Each feature uses only rows that were known at the
            example's time.
        examples: Rows of `label_examples`.
        service: The feature service.
        workspace: Gets the offline store (`offline/`) and Feast's registry.
        progress: Called with a step and its done share.
    """
    views = catalog.views_of(service)
    first, last = examples["event_timestamp"].min(), examples["event_timestamp"].max()
    begun = [
        streams[stream]["world_time"].min() for stream in {view.sources[0].stream for view in views}
    ]
    if not (isinstance(first, datetime) and isinstance(last, datetime)):
        raise ValueError("no examples to join features to")
    offline = workspace / "offline"
    build_from = max(
        min((moment for moment in begun if isinstance(moment, datetime)), default=first),
        datetime.combine(first.date(), time(), UTC) - LOOK_BACK,
    )
    build_offline(streams, offline, build_from.date(), last.date(), progress, views)
    store = open_store(offline, NO_ONLINE_STORE, workspace / "feast_registry.db")
    rows: pl.DataFrame = point_in_time_rows(store, service, examples)
    return rows.sort("event_timestamp", "request_id")


def stored_features(service: str) -> tuple[str, ...]:
    """Return the stored values that a service needs, in the catalogue's order.

    It needs them directly or for its request-time features.
    """
    return tuple(name for _, name in catalog.stored_of(service))


def dataset_hash(dataset: pl.DataFrame, service: str) -> str:
    """Return the SHA-256 of the ids, times, labels and features, independent of the file format.

    Weights count where a row has one.
    """
    weight = [] if weights_of(dataset) is None else ["weight"]
    features = catalog.SERVICES[service].features
    return content_hash(dataset, ["request_id", "event_timestamp", "label", *weight, *features])


def feature_hash() -> str:
    """Return the SHA-256 of all feature definitions: catalogue, request-time formulas and code."""
    return catalog.definition_hash()
