"""`python -m services.rollout`: reads its settings (DOJO_*) and moves rollouts until SIGTERM."""

from __future__ import annotations

import sys

from dojo.core.connections import connect_redis
from dojo.core.events.log import RedisEventLog
from dojo.core.registry.promotion import RoleChanges
from dojo.core.registry.versions import ModelRegistry
from dojo.core.service import stop_on_signal
from dojo.core.settings import SettingsError, load_settings
from dojo.core.spec.load import SpecError, load_specs
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from dojo.core.state.inbox import Inbox
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import RouteTable
from dojo.core.telemetry import HealthServer, configure_logging
from services.rollout.announcements import RolloutAnnouncements
from services.rollout.controller import Controller
from services.rollout.journal import Journal
from services.rollout.loop import RolloutStatus, run
from services.rollout.metrics import RolloutMetrics
from services.rollout.pace import look_interval
from services.rollout.reader import EventReader

# One try per question: the loop comes back with backoff, and looks at the traffic meanwhile.
REGISTRY_TIMEOUT_SECONDS = 5


def main() -> int:
    try:
        settings = load_settings()
        specs = load_specs(settings.models_dir)
    except (SettingsError, SpecError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging("rollout", settings.log_level)
    stop = stop_on_signal()
    metrics, status = RolloutMetrics(), RolloutStatus()
    metrics.show_specs(specs)
    with HealthServer(settings.host, settings.rollout_port, status.health):
        redis = connect_redis(settings.redis)
        clock, audit = RedisWorldClock(redis), AuditTrail(redis)
        controller = Controller(
            specs=specs,
            journal=Journal(Rollouts(redis), clock),
            reader=EventReader(RedisEventLog(redis, settings.stream_max_length)),
            champions=RoleChanges(
                ModelRegistry(settings.mlflow, timeout_seconds=REGISTRY_TIMEOUT_SECONDS, retries=0), RouteTable(redis), audit
            ),
            announcements=RolloutAnnouncements(audit, Inbox(redis), metrics),
            clock=clock,
            metrics=metrics,
        )

        def interval() -> float:
            try:
                return look_interval(clock.speed())
            except ClockNotSetError:
                return look_interval(None)

        run(controller, sorted(specs), status, metrics, stop, interval)
    return 0


if __name__ == "__main__":
    sys.exit(main())
