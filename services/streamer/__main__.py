"""`python -m services.streamer`: keeps the streaming features online until SIGTERM.

It reads its settings (DOJO_*).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Stream
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from feature_repo.catalog import streaming_views
from feature_repo.store import open_store
from feature_repo.views import StreamingView
from services.streamer.loop import StreamerService
from services.streamer.metrics import StreamerMetrics
from services.streamer.streamer import OnlinePush, Streamer
from services.streamer.windows import RedisWindows

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


def open_streamer(settings: Settings) -> StreamerService:
    redis, metrics = connect_redis(settings.redis), StreamerMetrics()
    event_log, clock = RedisEventLog(redis, settings.stream_max_length), RedisWorldClock(redis)
    store = open_store(
        settings.offline_dir, settings.online_store, settings.home / "feast" / "streamer.db"
    )

    def world_now() -> datetime | None:
        try:
            return clock.now()
        except ClockNotSetError:
            return None

    views: dict[Stream, list[StreamingView]] = {}
    for view in streaming_views():
        views.setdefault(view.sources[0].stream, []).append(view)
    dead_letters, windows, push = (
        DeadLetters(redis, "streamer", list(views)),
        RedisWindows(redis),
        feast_push(store),
    )
    streamers = [
        Streamer(stream, of, event_log, dead_letters, windows, push, metrics, world_now)
        for stream, of in views.items()
    ]
    return StreamerService(streamers, event_log, redis, world_now, metrics)


def main() -> int:
    return serve("streamer", open_streamer)


if __name__ == "__main__":
    sys.exit(main())
