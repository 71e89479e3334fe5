"""`python -m services.streamer`: reads its settings (DOJO_*) and keeps the streaming features online until SIGTERM."""

from __future__ import annotations

import sys
from datetime import datetime

from dojo.core.connections import connect_redis
from dojo.core.events.log import RedisEventLog
from dojo.core.service import stop_on_signal
from dojo.core.settings import SettingsError, load_settings
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from dojo.core.telemetry import HealthServer, configure_logging
from feature_repo.store import open_store
from services.streamer.feast_push import feast_push
from services.streamer.loop import StreamerStatus, run
from services.streamer.metrics import StreamerMetrics
from services.streamer.streamer import Streamer
from services.streamer.windows import RedisWindows


def main() -> int:
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging("streamer", settings.log_level)
    stop = stop_on_signal()
    redis = connect_redis(settings.redis)
    event_log = RedisEventLog(redis, settings.stream_max_length)
    metrics, status = StreamerMetrics(), StreamerStatus()
    with HealthServer(settings.host, settings.streamer_port, status.health):
        store = open_store(settings.offline_dir, settings.online_store, settings.home / "feast" / "streamer.db")
        clock = RedisWorldClock(redis)

        def world_now() -> datetime | None:
            try:
                return clock.now()
            except ClockNotSetError:
                return None

        streamer = Streamer(event_log, redis, RedisWindows(redis), feast_push(store), metrics, world_now)
        run(streamer, event_log, redis, clock, metrics, status, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
