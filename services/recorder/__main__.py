"""`python -m services.recorder`: reads its settings (DOJO_*) and records until SIGTERM."""

from __future__ import annotations

import sys
from datetime import timedelta

from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import RedisEventLog
from dojo.core.events.streams import EVENT_TYPES
from dojo.core.lake import Lake
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.state.clock import RedisWorldClock
from services.recorder.deduplicate import PartitionIds
from services.recorder.loop import RecorderService
from services.recorder.metrics import RecorderMetrics
from services.recorder.ownership import LakeOwnership
from services.recorder.recorder import Recorder

# A batch is up to 15 MB. A busy Redis hands it over in a fraction of this time. A hanging one costs
# one late round.
REDIS_TIMEOUT = timedelta(seconds=5)


def open_recorder(settings: Settings) -> RecorderService:
    redis, lake, metrics = (
        connect_redis(settings.redis, REDIS_TIMEOUT),
        Lake(settings.lake_dir),
        RecorderMetrics(),
    )
    metrics.kept.set(settings.stream_max_length)
    recorder = Recorder(
        log=RedisEventLog(redis, settings.stream_max_length),
        lake=lake,
        ids=PartitionIds(lake),
        dead_letters=DeadLetters(redis, "recorder", tuple(EVENT_TYPES)),
        metrics=metrics,
    )
    return RecorderService(recorder, LakeOwnership(lake.root), metrics, RedisWorldClock(redis))


def main() -> int:
    return serve("recorder", open_recorder)


if __name__ == "__main__":
    sys.exit(main())
