"""One materialisation on demand, with everything it needs opened from the settings."""

from __future__ import annotations

from datetime import datetime

from dojo.core.connections import connect_redis
from dojo.core.lake import Lake
from dojo.core.settings import Settings
from dojo.core.state.clock import RedisWorldClock
from feature_repo.store import open_store
from pipelines.features.materialize import Materialization, materialize
from pipelines.features.offline import Progress


def materialize_once(
    settings: Settings,
    as_of: datetime | None,
    registry: str,
    progress: Progress,
    afresh: bool = False,
) -> Materialization:
    """Bring features online as of a world time. None is the world's now.

    Args:
        settings: The settings.
        as_of: World time, or None.
        registry: Name of the caller's own Feast registry file. Two processes must never write one
            file.
        progress: Called before each step.
        afresh: Offer all rows, those of views that the streamer keeps fresh too.

    Raises:
        EmptyLakeError: The lake has no events before `as_of`.
        ClockNotSetError: The world has no clock, and `as_of` is None.
        redis.RedisError: Redis is out of reach.
    """
    redis = connect_redis(settings.redis)
    redis.ping()  # reports a missing Redis before the clock would report that it is not set
    moment = as_of or RedisWorldClock(redis).now()
    progress("opening the feature store", 0.0)
    store = open_store(
        settings.offline_dir, settings.online_store, settings.home / "feast" / f"{registry}.db"
    )
    return materialize(
        Lake(settings.lake_dir),
        store,
        settings.offline_dir,
        redis,
        connect_redis(settings.online_store),
        moment,
        progress,
        afresh,
    )
