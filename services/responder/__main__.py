"""`python -m services.responder [--dry-run]`: reads its settings (DOJO_*) and responds to verdicts until SIGTERM. With --dry-run it only says what
it would do."""

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
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import Inbox
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import RouteTable
from dojo.core.state.work_orders import WorkOrders
from dojo.core.telemetry import HealthServer, configure_logging
from services.responder.actions import Actions
from services.responder.announcements import ResponseAnnouncements
from services.responder.loop import Loop, ResponderStatus
from services.responder.metrics import ResponderMetrics
from services.responder.reports import Reports
from services.responder.responder import Responder
from services.responder.situation import Situation
from services.responder.state import StateStore

# One try per question: the loop comes back with backoff.
REGISTRY_TIMEOUT_SECONDS = 5


def main(arguments: list[str]) -> int:
    if unknown := set(arguments) - {"--dry-run"}:
        sys.stderr.write(f"expected nothing or --dry-run, got {' '.join(sorted(unknown))}\n")
        return 2
    try:
        settings = load_settings()
        specs = load_specs(settings.models_dir)
    except (SettingsError, SpecError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging("responder", settings.log_level)
    stop = stop_on_signal()
    metrics, status = ResponderMetrics(specs), ResponderStatus()
    with HealthServer(settings.host, settings.responder_port, status.health):
        redis = connect_redis(settings.redis)
        audit, orders, rollouts, routes = AuditTrail(redis), WorkOrders(redis), Rollouts(redis), RouteTable(redis)
        announcements = ResponseAnnouncements(audit, Inbox(redis))
        registry = ModelRegistry(settings.mlflow, timeout_seconds=REGISTRY_TIMEOUT_SECONDS, retries=0)
        responder = Responder(
            redis=redis,
            event_log=RedisEventLog(redis, settings.stream_max_length),
            specs=specs,
            clock=RedisWorldClock(redis),
            store=StateStore(redis),
            situation=Situation(routes, rollouts, audit),
            actions=Actions(orders, RoleChanges(registry, routes, audit), rollouts, announcements),
            announcements=announcements,
            reports=Reports(redis, orders, announcements),
            metrics=metrics,
            dry_run="--dry-run" in arguments,
        )
        Loop(responder, sorted(specs), status, metrics).run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
