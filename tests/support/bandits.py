"""A bandit on a real Redis, in a world that only the test moves. MLflow is away, and not needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry
from redis import Redis

from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Outcome, Prediction
from dojo.core.judging.bandit_shares import first_shares
from dojo.core.judging.bandits import BanditEvidence
from dojo.core.registry.promotion import RoleChanges
from dojo.core.spec.bandit import PolicyName
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import AuditTrail, Entry
from dojo.core.state.bandits import Bandit, Bandits
from dojo.core.state.clock import ManualClock
from dojo.core.state.draws import Draw
from dojo.core.state.inbox import Inbox, Notifier
from dojo.core.state.loss import held_back
from dojo.core.state.routes import Arm, Route, RouteTable
from dojo.core.tasks.specs import load_spec
from services.rollout.bandits.controller import BanditController
from services.rollout.bandits.metrics import BanditMetrics
from services.rollout.reader import EventReader
from tests.support.registries import sealed_registry
from tests.support.rollout_events import Gateway, Quality
from tests.support.rollouts import START
from tests.support.servers import free_port

SPEC = load_spec(Path("models/banner.yaml"))
HALF_HOUR = timedelta(minutes=30)

# A version earns by what it flags: 0.106 euro each, if 30 % of the flagged visits are clicked.
POOR = Quality(errors=0, slow=0, degraded=0, flagged=0.05)
RICH = Quality(errors=0, slow=0, degraded=0, flagged=0.20)
BROKEN = Quality(errors=0.2, slow=0, degraded=0, flagged=0.20)


def spec_with(**changes: object) -> ModelSpec:
    """Return banner's spec with changes of its bandit."""
    assert SPEC.bandit is not None
    return SPEC.model_copy(update={"bandit": SPEC.bandit.model_copy(update=changes)})


@dataclass
class BanditWorld:
    """One model's bandit.

    Attributes:
        label_of: Prediction -> its label. None for a label that never comes.
    """

    redis: Redis
    qualities: dict[str, Quality]
    spec: ModelSpec = field(default_factory=lambda: spec_with(minimum_rewards=100))
    policy: PolicyName = "thompson"
    features: Callable[[int], dict[str, float]] = lambda _: {}

    def __post_init__(self) -> None:
        self.clock = ManualClock(START)
        self.model = self.spec.name
        self.gateway = Gateway(
            self.qualities, model=self.model, moody=False, features=self.features
        )
        self.bandits, self.routes = Bandits(self.redis), RouteTable(self.redis)
        self.log = RedisEventLog(self.redis, 200_000)
        self.audit, self.inbox = AuditTrail(self.redis), Inbox(self.redis)
        self.metrics = BanditMetrics(CollectorRegistry())
        self.outcomes: list[Outcome] = []
        self.predictions: list[Prediction] = []

    def start(self) -> None:
        """Begin as `dojo bandit start` does."""
        assert self.spec.bandit is not None
        names = ("champion", "challenger", "third")
        shares = first_shares(self.spec.bandit, len(self.qualities)).tolist()
        arms = [
            Arm(name, version, share)
            for name, version, share in zip(names, self.qualities, shares, strict=False)
        ]
        bandit = Bandit(
            id="the-bandit",
            model=self.model,
            policy=self.policy,
            arms=tuple(arms),
            draw=Draw(sticky=self.spec.bandit.sticky),
            started=self.clock.now(),
            who="test",
            why="a test",
        )
        self.bandits.start(
            bandit, Entry(entry_id="s", kind="bandit", model=self.model, who="t", what="", why="")
        )

    def controller(self, redis: Redis | None = None) -> BanditController:
        """Return a new controller, as after a restart."""
        redis = redis or self.redis
        registry = sealed_registry(f"http://127.0.0.1:{free_port()}", 1, 0)
        return BanditController(
            specs={self.model: self.spec},
            bandits=Bandits(redis),
            reader=EventReader(RedisEventLog(redis, 200_000)),
            changes=RoleChanges(registry, RouteTable(redis), AuditTrail(redis)),
            notifier=Notifier(redis, "rollout"),
            clock=self.clock,
            metrics=self.metrics,
            held_back=partial(held_back, redis),
        )

    @property
    def now(self) -> Bandit:
        found = self.bandits.get(self.model)
        assert found is not None
        return found

    @property
    def route(self) -> Route:
        found = self.routes.get(self.model)
        assert found is not None
        return found

    def evidence(self) -> BanditEvidence:
        """Return the evidence as saved."""
        content = self.bandits.evidence(self.model)
        assert content is not None
        return msgspec.msgpack.decode(content, type=BanditEvidence)

    def visits(
        self, count: int, label: Callable[[Prediction], float | None] | None = None
    ) -> list[Prediction]:
        """Answer visits now. Their labels become known as the clock passes them."""
        route, at = self.route, self.clock.now()
        answers = [
            event
            for _ in range(count)
            for event in self.gateway.answer(route, at)
            if isinstance(event, Prediction)
        ]
        self.predictions += answers
        self.log.append(answers)
        for answer in answers:
            drawn = self.gateway.outcome(answer, HALF_HOUR, if_flagged=0.3, if_passed=0.03)
            value = drawn.label if label is None else label(answer)
            if value is None:
                continue
            # As in the shop: a click is known soon, and its absence after half an hour.
            known = at + (timedelta(minutes=2) if value else HALF_HOUR)
            self.outcomes.append(msgspec.structs.replace(drawn, label=value, world_time=known))
        return answers

    def pass_time(self, time: timedelta) -> None:
        """Move the clock, and log the labels that become known."""
        self.clock.advance(time)
        due = [one for one in self.outcomes if one.world_time <= self.clock.now()]
        self.outcomes = [one for one in self.outcomes if one.world_time > self.clock.now()]
        self.log.append(due)
