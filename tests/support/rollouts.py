"""A rollout's surroundings for tests: real Redis and MLflow, and two registered versions.

The test moves the world. Traffic follows the route in Redis.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from redis import Redis

from dojo.core.connections import connect_redis
from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Prediction
from dojo.core.judging.rollout.evidence import longest_silence
from dojo.core.registry.promotion import RoleChanges
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import CHALLENGER, CHAMPION, ModelRegistry
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import WorldClock, wall_now
from dojo.core.state.error_budget import why_stopped
from dojo.core.state.inbox import Inbox, Message, Notifier
from dojo.core.state.loss import held_back
from dojo.core.state.rollouts import Rollout, Rollouts
from dojo.core.state.routes import Arm, Route, RouteTable
from dojo.core.tasks.specs import load_spec
from pipelines.release.tracking import tracking_client
from services.rollout.announcements import RolloutAnnouncements
from services.rollout.controller import Controller
from services.rollout.journal import Journal
from services.rollout.metrics import RolloutMetrics
from services.rollout.reader import EventReader
from tests.support.rollout_events import Gateway, Quality

SPEC = load_spec(Path("models/fraud_detection.yaml"))
START = datetime(2018, 7, 1, tzinfo=UTC)


def spec_of(model: str, **policy: object) -> ModelSpec:
    """Return the fraud model's spec under another name, with changes of its rollout policy."""
    return SPEC.model_copy(
        update={"name": model, "rollout": SPEC.rollout.model_copy(update=policy)}
    )


def register_versions(registry: ModelRegistry, model: str, count: int = 2) -> list[str]:
    """Register versions without bundles. The first is champion, the second challenger."""
    experiment = tracking_client(registry).get_experiment_by_name("rollouts")
    experiment_id = (
        experiment.experiment_id
        if experiment
        else tracking_client(registry).create_experiment("rollouts")
    )
    versions = []
    for _ in range(count):
        run = tracking_client(registry).create_run(experiment_id)
        versions.append(
            registry.register(
                model, run.info.run_id, f"{run.info.artifact_uri}/bundle", VersionTags()
            ).version
        )
    registry.set_alias(model, CHAMPION, versions[0])
    registry.set_alias(model, CHALLENGER, versions[1])
    return versions


@dataclass
class Stage:
    """One model's rollout on real servers."""

    redis: Redis
    registry: ModelRegistry
    clock: WorldClock
    spec: ModelSpec
    gateway: Gateway
    wall: Callable[[], datetime] = wall_now

    def __post_init__(self) -> None:
        self.rollouts = Rollouts(self.redis)
        self.routes = RouteTable(self.redis)
        self.audit = AuditTrail(self.redis)
        self.inbox = Inbox(self.redis)
        self.log = RedisEventLog(self.redis, 200_000)
        self.metrics = RolloutMetrics(CollectorRegistry())

    def controller(self) -> Controller:
        """Return a new controller, as after a restart."""
        return Controller(
            specs={self.spec.name: self.spec},
            journal=Journal(self.rollouts, self.clock),
            reader=EventReader(self.log),
            champions=RoleChanges(self.registry, self.routes, self.audit),
            announcements=RolloutAnnouncements(
                self.audit, Notifier(self.redis, "rollout"), self.metrics
            ),
            clock=self.clock,
            metrics=self.metrics,
            wall=self.wall,
            held_back=partial(held_back, self.redis),
            budget=lambda _, waits: why_stopped(self.redis, self.spec, self.clock.now(), waits),
        )

    def start(self, version: str = "2", champion: str = "1") -> Rollout:
        return self.rollouts.start(
            self.spec,
            version,
            champion,
            self.clock.now(),
            "test",
            "a better one",
            {"recall_at_threshold": 0.6},
        )

    @property
    def now(self) -> Rollout:
        found = self.rollouts.get(self.spec.name)
        assert found is not None
        return found

    def route(self) -> Route:
        found = self.routes.get(self.spec.name)
        return found or Route(
            model=self.spec.name,
            generation=0,
            strategy="champion",
            arms=(Arm("champion", "1", 1.0),),
            salt=self.spec.name,
            changed_at=START,
            who="nobody",
            why="no route yet",
        )

    def traffic(self, requests: int, outcomes: bool = False, **labels: Any) -> list[Prediction]:
        """Answer payments along the current route, now."""
        route, at = self.route(), self.clock.now()
        events = [event for _ in range(requests) for event in self.gateway.answer(route, at)]
        predictions = [event for event in events if isinstance(event, Prediction)]
        if outcomes:
            events += [
                self.gateway.outcome(prediction, timedelta(hours=1), **labels)
                for prediction in predictions
            ]
        self.log.append(events)
        return predictions

    def pass_time(self, hours: float, outcomes: bool = False, **labels: Any) -> None:
        """Let world time pass with a payment now and then, so that stages count it."""
        left, step = (
            timedelta(hours=hours),
            (
                longest_silence(self.now.stage, self.spec)
                if self.now.active
                else timedelta(hours=hours)
            ),
        )
        while left > timedelta(0):
            self.clock.advance(min(step, left))  # type: ignore[attr-defined]
            self.traffic(1, outcomes, **labels)
            left -= step

    def inbox_of_this_model(self) -> list[Message]:
        """Return the model's messages, newest first."""
        return [message for message in self.inbox.newest(1_000) if message.model == self.spec.name]

    def roles(self) -> dict[str, str]:
        """Return alias -> version."""
        return {
            alias: v.version for v in self.registry.versions(self.spec.name) for alias in v.aliases
        }


class Traffic:
    """Payments on a thread. They follow the route in Redis as a gateway does.

    Labels come after `label_after` of world time.
    """

    def __init__(
        self,
        redis_url: str,
        clock: WorldClock,
        gateway: Gateway,
        per_second: float = 200,
        label_after: timedelta = timedelta(hours=1),
    ) -> None:
        self.predictions: list[Prediction] = []
        self._redis_url, self._clock, self._gateway = redis_url, clock, gateway
        self._per_second, self._label_after = per_second, label_after
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def by_arm(self) -> Mapping[str, int]:
        return {
            arm: sum(p.arm == arm for p in self.predictions)
            for arm in {p.arm for p in self.predictions}
        }

    def _run(self) -> None:
        redis = connect_redis(self._redis_url)
        log, routes = RedisEventLog(redis, 200_000), RouteTable(redis)
        unlabelled: list[Prediction] = []
        while not self._stop.is_set():
            began, route, now = time.monotonic(), routes.get(self._gateway.model), self._clock.now()
            if route is not None:
                events = [
                    event
                    for _ in range(int(self._per_second * 0.05))
                    for event in self._gateway.answer(route, now)
                ]
                fresh = [event for event in events if isinstance(event, Prediction)]
                self.predictions += fresh
                unlabelled += fresh
                due = [p for p in unlabelled if p.world_time + self._label_after <= now]
                unlabelled = unlabelled[len(due) :]
                log.append([*events, *(self._gateway.outcome(p, self._label_after) for p in due)])
            self._stop.wait(max(0.0, 0.05 - (time.monotonic() - began)))
        redis.close()


def both(champion: Quality | None = None, challenger: Quality | None = None) -> dict[str, Quality]:
    return {"1": champion or Quality(), "2": challenger or Quality()}
