"""The push itself, through Feast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from services.streamer.streamer import OnlinePush

if TYPE_CHECKING:
    from feast import FeatureStore


def feast_push(store: FeatureStore) -> OnlinePush:
    """A push into `store`'s online store. Raises redis.RedisError when that is out of reach."""
    import pandas as pd
    from feast.data_source import PushMode

    from feature_repo.definitions import push_source

    def push(view: str, rows: Sequence[Mapping[str, object]]) -> None:
        frame = pd.DataFrame.from_records(rows)
        store.push(push_source(view), frame, allow_registry_cache=True, to=PushMode.ONLINE)

    return push
