"""A responder's surroundings for tests: real Redis, and a world that the test moves.

The test also gives the trainer's answers.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prometheus_client import CollectorRegistry
from redis import Redis

from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Check, Verdict
from dojo.core.judging.drift import Finding
from dojo.core.registry.promotion import Change, RoleChanges, full_traffic
from dojo.core.registry.versions import ModelRegistry
from dojo.core.severity import Severity
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import AuditTrail, Entry
from dojo.core.state.clock import ManualClock, wall_now
from dojo.core.state.inbox import Inbox, Message, Notifier
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import RouteTable
from dojo.core.state.watch import StateWatch
from dojo.core.state.work_orders import NO_DEADLINE, Ended, Work, WorkOrders
from dojo.core.tasks.specs import load_spec
from services.responder.actions import Actions
from services.responder.announcements import RESPONDER, ResponseAnnouncements
from services.responder.loop import ResponderService
from services.responder.metrics import ResponderMetrics
from services.responder.reports import Reports
from services.responder.responder import Responder
from services.responder.situation import Situation
from services.responder.state import ModelState, StateStore
from services.responder.troubles import Window

SPEC = load_spec(Path("models/fraud_detection.yaml"))
START = datetime(2018, 7, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

DEGRADED = {
    "verdict": "degraded",
    "reason": "PR-AUC 0.400 against 0.600 on its holdout",
    "version": "2",
    "relative_loss": 0.33,
    "support": 90,
}


class Surroundings:
    """One model's responder. `now` begins at START.

    Version 2 has had the traffic for `since_hours`. Version 1 had it before.
    """

    def __init__(
        self, redis_url: str, registry: ModelRegistry, model: str = "shop", since_hours: float = 240
    ) -> None:
        self.url, self.registry, self.model = redis_url, registry, model
        self.home = TemporaryDirectory()
        self.spec: ModelSpec = SPEC.model_copy(update={"name": model})
        self.clock = ManualClock(START)
        self.redis = connect_redis(redis_url)
        self.audit, self.inbox, self.orders = (
            AuditTrail(self.redis),
            Inbox(self.redis),
            WorkOrders(self.redis),
        )
        self.routes, self.rollouts = RouteTable(self.redis), Rollouts(self.redis)
        self.log = RedisEventLog(self.redis, 10_000)
        self.metrics = ResponderMetrics([model], CollectorRegistry())
        self.dry_run, self.settle_seconds = False, 0.0
        self.deadline = NO_DEADLINE
        self.serve("1", "", 2 * since_hours)
        self.serve("2", "1", since_hours)
        self.service = self.start()

    def serve(self, version: str, previous: str, hours_ago: float) -> None:
        """Give a version all traffic and the role, in Redis alone."""
        at = START - timedelta(hours=hours_ago)
        change = Change(
            key=f"{self.model}-serve-{version}", who="tests", why="set up", world_time=at
        )
        RoleChanges(self.registry, self.routes, self.audit).route(
            self.model,
            "blue_green" if previous else "champion",
            full_traffic(version, previous or None),
            change,
        )
        roles = {"champion": version, "previous_champion": previous or None, "challenger": None}
        self.audit.append(
            entry_id=f"{change.key}:alias",
            kind="alias",
            model=self.model,
            who="tests",
            what=f"version {version} became champion",
            why="set up",
            after=roles,
            world_time=at,
        )

    def start(
        self, redis: Redis | None = None, registry: ModelRegistry | None = None
    ) -> ResponderService:
        """Return a new process, as after a restart."""
        watch = StateWatch(redis or self.redis, Path(self.home.name) / "redis.json", [self.model])
        return ResponderService(watch, self.responder(redis, registry), [self.model], self.metrics)

    def responder(
        self, redis: Redis | None = None, registry: ModelRegistry | None = None
    ) -> Responder:
        """Return the responder of a new process, to go step by step."""
        client = redis or self.redis
        audit, orders, rollouts, routes = (
            AuditTrail(client),
            WorkOrders(client),
            Rollouts(client),
            RouteTable(client),
        )
        announcements = ResponseAnnouncements(audit, Notifier(client, RESPONDER))
        return Responder(
            redis=client,
            event_log=RedisEventLog(client, 10_000),
            dead_letters=DeadLetters(client, "responder"),
            specs={self.model: self.spec},
            clock=self.clock,
            store=StateStore(client),
            situation=Situation(routes, rollouts, audit),
            actions=Actions(
                orders,
                RoleChanges(registry or self.registry, routes, audit),
                rollouts,
                announcements,
                self.deadline,
            ),
            announcements=announcements,
            reports=Reports(client, orders, announcements),
            metrics=self.metrics,
            dry_run=self.dry_run,
            settle_seconds=self.settle_seconds,
        )

    def say(
        self,
        severity: Severity,
        check: Check = "performance",
        since: datetime | None = None,
        version: str = "2",
        window: Window = "hour",
        **given: Any,
    ) -> Verdict:
        """Write a verdict as the monitor would now."""
        now = self.clock.now()
        verdict = Verdict(
            event_id=Verdict.id_for(
                f"{self.model}-{version}-{check}-{window}-{now:%Y%m%dT%H%M}-{severity}"
            ),
            world_time=now,
            wall_time=wall_now(),
            model=given.get("model", self.model),
            version=version,
            check=check,
            window=window,
            window_start=now - HOUR,
            severity=severity,
            rows=500,
            summary=f"{check}: catch rate 0.31 (threshold 0.45)",
            findings=(
                Finding(
                    subject="catch_rate", severity=severity, value=0.31, threshold=0.45, rows=500
                ),
            ),
            since=since or (None if severity == "ok" else now - 3 * HOUR),
        )
        self.log.append([verdict])
        return verdict

    def rounds(self, count: int = 4) -> None:
        for _ in range(count):
            self.service.turn(threading.Event())

    def pass_time(self, hours: float) -> None:
        self.clock.advance(timedelta(hours=hours))

    @property
    def state(self) -> ModelState:
        return StateStore(self.redis).load(self.model)

    def serving(self) -> str:
        route = self.routes.get(self.model)
        return "" if route is None else route.primary.version

    def open_order(self, kind: str) -> Work:
        (work,) = [work for work in self.orders.open(self.model) if work.order.kind == kind]
        return work

    def answer(self, kind: str, state: Ended = "done", **answer: Any) -> Work:
        """Answer as the trainer: take the open order and end it."""
        work = self.open_order(kind)
        self.orders.begin(work.order.id)
        return self.orders.end(work.order.id, state, answer)

    def messages(self, urgency: str = "") -> list[Message]:
        """Return the model's messages, oldest first."""
        found = [
            message
            for message in self.inbox.newest(1000)
            if message.model == self.model and urgency in ("", message.urgency)
        ]
        return found[::-1]

    def titles(self, urgency: str = "") -> list[str]:
        return [message.title.removeprefix(f"{self.model}: ") for message in self.messages(urgency)]

    def entries(self) -> Sequence[Entry]:
        return [
            entry
            for entry in self.audit.entries()
            if entry.kind == "response" and entry.model == self.model
        ]

    def done(self) -> list[str]:
        return [entry.what for entry in self.entries()]

    def count(self, action: str, outcome: str) -> float:
        return float(self.metrics.actions.labels(self.model, action, outcome)._value.get())
