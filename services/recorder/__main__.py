"""`python -m services.recorder`: reads its settings (DOJO_*) and records until SIGTERM."""

from __future__ import annotations

import sys
from datetime import timedelta

from dojo.core.connections import connect_redis
from dojo.core.events.log import RedisEventLog
from dojo.core.lake import Lake
from dojo.core.service import stop_on_signal
from dojo.core.settings import SettingsError, load_settings
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from dojo.core.telemetry import HealthServer, configure_logging
from services.recorder.deduplicate import PartitionIds
from services.recorder.loop import RecorderStatus, run
from services.recorder.metrics import RecorderMetrics
from services.recorder.ownership import LakeOwnership
from services.recorder.pace import round_interval
from services.recorder.recorder import Recorder
from services.recorder.rejected import RejectedMessages

# A batch is up to 15 MB; a busy Redis hands it over in a fraction of this, a hanging one costs one late round.
REDIS_TIMEOUT = timedelta(seconds=5)


def main() -> int:
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging("recorder", settings.log_level)
    stop = stop_on_signal()
    redis = connect_redis(settings.redis, REDIS_TIMEOUT)
    clock = RedisWorldClock(redis)
    lake = Lake(settings.lake_dir)
    metrics, status = RecorderMetrics(), RecorderStatus()
    metrics.kept.set(settings.stream_max_length)
    recorder = Recorder(
        log=RedisEventLog(redis, settings.stream_max_length),
        lake=lake,
        ids=PartitionIds(lake),
        rejected=RejectedMessages(lake.root / "_rejected"),
        metrics=metrics,
    )

    def interval() -> timedelta:
        try:
            return round_interval(clock.speed())
        except ClockNotSetError:
            return round_interval(None)

    with HealthServer(settings.host, settings.recorder_port, status.health):
        run(recorder, LakeOwnership(lake.root), status, metrics, stop, interval)
    return 0


if __name__ == "__main__":
    sys.exit(main())
