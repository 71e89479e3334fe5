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


def materialize_once(settings: Settings, as_of: datetime | None, registry: str, progress: Progress) -> Materialization:
    """Bring features online as of a world time; None is the world's now.

    Args:
        registry: names the caller's own Feast registry file: two processes never write one.

    Raises:
        EmptyLakeError, ClockNotSetError, redis.RedisError.
    """
    redis = connect_redis(settings.redis)
    redis.ping()  # says that Redis is away before the clock would say that it is not set
    moment = as_of or RedisWorldClock(redis).now()
    progress("opening the feature store", 0.0)
    store = open_store(settings.offline_dir, settings.online_store, settings.home / "feast" / f"{registry}.db")
    return materialize(Lake(settings.lake_dir), store, settings.offline_dir, redis, moment, progress)
