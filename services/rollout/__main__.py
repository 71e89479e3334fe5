"""`python -m services.rollout`: reads its settings (DOJO_*) and moves rollouts until SIGTERM."""

from __future__ import annotations

import sys
from functools import partial

from dojo.core.connections import connect_redis
from dojo.core.events.log import RedisEventLog
from dojo.core.registry.promotion import RoleChanges
from dojo.core.registry.versions import ModelRegistry
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.state.audit import AuditTrail
from dojo.core.state.bandits import Bandits
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.error_budget import why_stopped
from dojo.core.state.inbox import Notifier
from dojo.core.state.loss import held_back
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import RouteTable
from feature_repo.specs import in_use, load
from services.rollout.announcements import RolloutAnnouncements
from services.rollout.bandits.controller import BanditController
from services.rollout.bandits.metrics import BanditMetrics
from services.rollout.controller import Controller
from services.rollout.journal import Journal
from services.rollout.loop import RolloutService
from services.rollout.metrics import RolloutMetrics
from services.rollout.reader import EventReader

# One try per question. The loop asks again with backoff, and checks the traffic meanwhile.
REGISTRY_TIMEOUT_SECONDS = 5


def open_rollout(settings: Settings) -> RolloutService:
    loaded, redis, metrics = load(settings), connect_redis(settings.redis), RolloutMetrics()
    specs = loaded.specs
    metrics.show_specs(specs)
    clock, audit, notifier = RedisWorldClock(redis), AuditTrail(redis), Notifier(redis, "rollout")
    registry = ModelRegistry.of(settings, timeout_seconds=REGISTRY_TIMEOUT_SECONDS, retries=0)
    reader = EventReader(RedisEventLog(redis, settings.stream_max_length))
    changes = RoleChanges(registry, RouteTable(redis), audit)
    controller = Controller(
        specs=specs,
        journal=Journal(Rollouts(redis), clock),
        reader=reader,
        champions=changes,
        announcements=RolloutAnnouncements(audit, notifier, metrics),
        clock=clock,
        metrics=metrics,
        held_back=partial(held_back, redis),
        budget=lambda model, waits: why_stopped(redis, specs[model], clock.now(), waits),
    )
    bandits = BanditController(
        specs=specs,
        bandits=Bandits(redis),
        reader=reader,
        changes=changes,
        notifier=notifier,
        clock=clock,
        metrics=BanditMetrics(),
        held_back=partial(held_back, redis),
    )
    service = RolloutService(controller, sorted(specs), metrics, clock, bandits)
    return service.using(in_use(settings, loaded))


def main() -> int:
    return serve("rollout", open_rollout)


if __name__ == "__main__":
    sys.exit(main())
