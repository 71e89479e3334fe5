"""`python -m services.streamer`: reads its settings (DOJO_*) and keeps the streaming features online until SIGTERM."""

from __future__ import annotations

import sys
from datetime import datetime

from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import RedisEventLog
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from feature_repo.store import open_store
from services.streamer.feast_push import feast_push
from services.streamer.loop import StreamerService
from services.streamer.metrics import StreamerMetrics
from services.streamer.streamer import STREAM, Streamer
from services.streamer.windows import RedisWindows


def open_streamer(settings: Settings) -> StreamerService:
    redis, metrics = connect_redis(settings.redis), StreamerMetrics()
    event_log, clock = RedisEventLog(redis, settings.stream_max_length), RedisWorldClock(redis)
    store = open_store(settings.offline_dir, settings.online_store, settings.home / "feast" / "streamer.db")

    def world_now() -> datetime | None:
        try:
            return clock.now()
        except ClockNotSetError:
            return None

    dead_letters = DeadLetters(redis, "streamer", [STREAM])
    streamer = Streamer(event_log, dead_letters, RedisWindows(redis), feast_push(store), metrics, world_now)
    return StreamerService(streamer, event_log, redis, world_now, metrics)


def main() -> int:
    return serve("streamer", open_streamer)


if __name__ == "__main__":
    sys.exit(main())
