"""The requests of one world day with their features, as the online answer would have known them.

The features are those of training (`pipelines/training/dataset/build.py`). A missing value is 0
there and in the gateway. The gateway's other defaults replace an unreachable store, which a file
is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from dojo.core.lake import SCHEMAS, Lake, start_of
from feature_repo import catalog
from pipelines.features.materialize import scan_streams
from pipelines.features.offline import Progress
from pipelines.training.dataset.build import join_features
from pipelines.training.dataset.collect import WARM_UP


def keys_of(service: str, entities: Sequence[str]) -> dict[str, str]:
    """Return entity -> column of its key, for the entities that the requests' events name."""
    columns = SCHEMAS[catalog.recorded_requests(service).stream]
    keys = {entity: catalog.ENTITY_KEYS[entity] for entity in entities}
    return {entity: key for entity, key in keys.items() if key in columns}


def requests_of(lake: Lake, service: str, entities: Sequence[str], day: date) -> pl.DataFrame:
    """Return the day's recorded requests, each once, in order of time and id.

    Columns: request_id, the entities' keys, event_timestamp (UTC), the request's inputs.
    """
    recorded, start = catalog.recorded_requests(service), start_of(day)
    return (
        lake.scan(recorded.stream, start, start + timedelta(days=1))
        .select(
            pl.col(recorded.key).alias("request_id"),
            *keys_of(service, entities).values(),
            pl.col("world_time").alias("event_timestamp"),
            *catalog.SERVICES[service].request.names,
        )
        .sort("event_timestamp", "request_id")
        .unique("request_id", keep="first", maintain_order=True)
        .collect()
    )


def with_features(
    lake: Lake,
    requests: pl.DataFrame,
    service: str,
    day: date,
    workspace: Path,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Add the service's features, float32, each as of its request.

    Args:
        lake: The lake. Events after the day are not read.
        requests: Rows of `requests_of`, at least one.
        service: The feature service.
        day: The world day.
        workspace: Directory for the views' rows.
        progress: Called with a step and its done share.
    """
    start = start_of(day)
    streams = {
        stream: rows.collect()
        for stream, rows in scan_streams(lake, start - WARM_UP, start + timedelta(days=1)).items()
    }
    return join_features(streams, requests, service, workspace, progress)
