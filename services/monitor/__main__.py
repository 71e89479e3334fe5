"""`python -m services.monitor`: reads its settings (DOJO_*) and monitors until SIGTERM."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Collection, Mapping
from datetime import timedelta

from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import RedisEventLog
from dojo.core.lake import Lake
from dojo.core.registry.versions import ModelRegistry
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock, WorldClock
from dojo.core.state.inbox import Notifier
from dojo.core.state.routes import RouteTable
from dojo.core.tasks.specs import task_of
from feature_repo import catalog
from feature_repo.specs import in_use, load
from services.monitor.counting.consumer import STREAMS, Consumer
from services.monitor.counting.profiles import Profiles
from services.monitor.counting.state import Store
from services.monitor.judging.records import MonitorRecords
from services.monitor.judging_loop import Judging
from services.monitor.loop import Monitor
from services.monitor.metrics import MonitorMetrics
from services.monitor.registry_notices import RegistryNotices
from services.monitor.serving import ServingVersions
from services.monitor.showing.gauges import Gauges

# A batch is 8 MB. A busy Redis delivers it in a fraction of this time. A hanging one costs one late
# round.
REDIS_TIMEOUT = timedelta(seconds=5)

# One short try per question, so that counting continues while MLflow is away.
REGISTRY_TIMEOUT_SECONDS = 3


def open_monitor(settings: Settings) -> Monitor:
    metrics = MonitorMetrics()
    # The start counts as a look. A value of 0 would mean a monitor stuck since 1970.
    metrics.alive.set_to_current_time()
    loaded = load(settings)
    monitor = build(settings, loaded.specs, metrics, left_out=loaded.faults)
    return monitor.using(in_use(settings, loaded))


def build(
    settings: Settings,
    specs: Mapping[str, ModelSpec],
    metrics: MonitorMetrics,
    lease: timedelta = timedelta(seconds=5),
    clock: WorldClock | None = None,
    left_out: Collection[str] = (),
) -> Monitor:
    """Return a monitor with all its parts. Tests use this too.

    Args:
        left_out: Models with a wrong spec. Their events are passed over.
    """
    redis = connect_redis(settings.redis, REDIS_TIMEOUT)
    log = RedisEventLog(redis, settings.stream_max_length)
    store = Store(redis, f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}", lease)
    registry = ModelRegistry.of(settings, timeout_seconds=REGISTRY_TIMEOUT_SECONDS, retries=0)
    profiles, serving = (
        Profiles(registry),
        ServingVersions(registry, RouteTable(redis), AuditTrail(redis)),
    )
    judging = Judging(
        specs=specs,
        views={
            name: {v.name: v.freshness_sla for v in catalog.views_of(spec.feature_service)}
            for name, spec in specs.items()
        },
        redis=redis,
        store=store,
        records=MonitorRecords(redis, settings.stream_max_length),
        lake=Lake(settings.lake_dir),
        profiles=profiles,
        serving=serving,
        gauges=Gauges(metrics),
    )
    bounds = {name: task_of(spec).score_bounds for name, spec in specs.items()}
    consumer = Consumer(
        log, DeadLetters(redis, "monitor", STREAMS), store, profiles, bounds, metrics, left_out
    )
    notices = RegistryNotices(redis, Notifier(redis, "monitor"), specs, serving)
    return Monitor(
        log, store, consumer, judging, serving, notices, clock or RedisWorldClock(redis), metrics
    )


def main() -> int:
    return serve("monitor", open_monitor)


if __name__ == "__main__":
    sys.exit(main())
