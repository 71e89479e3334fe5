"""Feature values in Feast's online store, written by Feast itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from feature_repo.catalog import ENTITY_KEYS, VIEWS


def stored_value(feature: str, number: int) -> float:
    """Return the value that `write_online_rows` stores for entity `number`.

    It is different for each feature and entity, and exact in float32.
    """
    return float(sum(map(ord, feature)) % 97 + number)


def write_online_rows(
    directory: Path, redis_url: str, entities: int, now: datetime, hours_old: float = 1.0
) -> None:
    """Write rows of every view for customers c0... and merchants m0..., `hours_old` hours old."""
    from feature_repo.store import open_store

    directory.mkdir(parents=True, exist_ok=True)
    store = open_store(directory / "offline", redis_url, directory / "registry.db")
    for view in VIEWS.values():
        rows = {
            ENTITY_KEYS[view.entity]: [f"{view.entity[0]}{n}" for n in range(entities)],
            "event_timestamp": [pd.Timestamp(now - timedelta(hours=hours_old))] * entities,
            **{f.name: [stored_value(f.name, n) for n in range(entities)] for f in view.features},
        }
        store.write_to_online_store(view.name, pd.DataFrame(rows))
