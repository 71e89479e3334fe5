"""`python -m services.responder [--dry-run]`: responds to verdicts until SIGTERM.

Settings are DOJO_*. With --dry-run it only announces its intended actions.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import partial

from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Stream
from dojo.core.registry.promotion import RoleChanges
from dojo.core.registry.versions import ModelRegistry
from dojo.core.service import EXIT_WRONG_SETTINGS, serve
from dojo.core.settings import Settings
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import Notifier
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import RouteTable
from dojo.core.state.watch import StateWatch
from dojo.core.state.work_orders import WorkOrders
from feature_repo.specs import in_use, load
from services.responder.actions import Actions
from services.responder.announcements import RESPONDER, ResponseAnnouncements
from services.responder.loop import ResponderService
from services.responder.metrics import ResponderMetrics
from services.responder.reports import Reports
from services.responder.responder import Responder
from services.responder.situation import Situation
from services.responder.state import StateStore

# One try per question, because the loop asks again with backoff.
REGISTRY_TIMEOUT_SECONDS = 5


def open_responder(settings: Settings, dry_run: bool) -> ResponderService:
    loaded, redis = load(settings), connect_redis(settings.redis)
    specs = loaded.specs
    audit, orders, rollouts, routes = (
        AuditTrail(redis),
        WorkOrders(redis),
        Rollouts(redis),
        RouteTable(redis),
    )
    announcements, metrics = (
        ResponseAnnouncements(audit, Notifier(redis, RESPONDER)),
        ResponderMetrics(specs),
    )
    registry = ModelRegistry.of(settings, timeout_seconds=REGISTRY_TIMEOUT_SECONDS, retries=0)
    responder = Responder(
        redis=redis,
        event_log=RedisEventLog(redis, settings.stream_max_length),
        dead_letters=DeadLetters(redis, "responder", [Stream.VERDICTS]),
        specs=specs,
        clock=RedisWorldClock(redis),
        store=StateStore(redis),
        situation=Situation(routes, rollouts, audit),
        actions=Actions(
            orders,
            RoleChanges(registry, routes, audit),
            rollouts,
            announcements,
            timedelta(seconds=settings.order_deadline_seconds),
        ),
        announcements=announcements,
        reports=Reports(redis, orders, announcements),
        metrics=metrics,
        dry_run=dry_run,
        left_out=loaded.faults,
    )
    watch = StateWatch(redis, settings.home / "responder" / "redis.json", sorted(specs))
    return ResponderService(watch, responder, sorted(specs), metrics).using(
        in_use(settings, loaded)
    )


def main(arguments: list[str]) -> int:
    if unknown := set(arguments) - {"--dry-run"}:
        sys.stderr.write(f"expected nothing or --dry-run, got {' '.join(sorted(unknown))}\n")
        return EXIT_WRONG_SETTINGS
    return serve("responder", partial(open_responder, dry_run="--dry-run" in arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
