"""`python -m services.streamer`: keeps the streaming features online until SIGTERM.

It reads its settings (DOJO_*).
"""

from __future__ import annotations

import sys
from datetime import datetime

from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import RedisEventLog
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from feature_repo.catalog import streaming_views
from feature_repo.online_rows import TIMEOUT, OnlineRows
from feature_repo.views import StreamingView
from services.streamer.loop import StreamerService
from services.streamer.metrics import StreamerMetrics
from services.streamer.streamer import Streamer
from services.streamer.windows import RedisWindows


def open_streamer(settings: Settings) -> StreamerService:
    redis, metrics = connect_redis(settings.redis), StreamerMetrics()
    event_log, clock = RedisEventLog(redis, settings.stream_max_length), RedisWorldClock(redis)
    online = OnlineRows(connect_redis(settings.online_store, TIMEOUT))

    def world_now() -> datetime | None:
        try:
            return clock.now()
        except ClockNotSetError:
            return None

    views: dict[str, list[StreamingView]] = {}
    for view in streaming_views():
        views.setdefault(view.sources[0].stream, []).append(view)
    dead_letters, windows = DeadLetters(redis, "streamer", list(views)), RedisWindows(redis)
    streamers = [
        Streamer(stream, of, event_log, dead_letters, windows, online.write, metrics, world_now)
        for stream, of in views.items()
    ]
    return StreamerService(streamers, event_log, redis, world_now, metrics)


def main() -> int:
    return serve("streamer", open_streamer)


if __name__ == "__main__":
    sys.exit(main())
