"""A controller killed after any write to Redis or MLflow brings a rollout to the same end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from dojo.core.connections import connect_redis
from dojo.core.judging.rollout.evidence import decode_evidence
from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.versions import ModelRegistry
from dojo.core.state.clock import ManualClock, wall_now
from dojo.core.state.rollouts import RolloutRequest
from pipelines.release.tracking import tracking_client
from tests.support.doomed import DoomedMlflow, Fate, KilledError, doomed_redis
from tests.support.registries import sealed_registry
from tests.support.rollout_events import Gateway, Quality
from tests.support.rollouts import START, both, register_versions, spec_of
from tests.support.rollouts import Stage as Surroundings
from tests.support.servers import MlflowServer, RedisServer

pytestmark = pytest.mark.integration

MODEL = "killed"
QUICK = {"minimum_requests": 30, "minimum_positives": 3}


class Life:
    """One rollout, moved by controllers that each die after a few writes."""

    def __init__(
        self,
        redis_url: str,
        mlflow_url: str,
        qualities: dict[str, Quality],
        deaths: random.Random | None,
    ) -> None:
        self.model = MODEL
        self._mlflow_url, self._redis_url, self._deaths = mlflow_url, redis_url, deaths
        self.clock, self.gateway = (
            ManualClock(START),
            Gateway(qualities, model=self.model, moody=False),
        )
        registry, redis = (
            sealed_registry(mlflow_url, timeout_seconds=10, retries=0),
            connect_redis(redis_url),
        )
        # The same names each time: they decide who gets which arm.
        redis.flushdb()
        if MODEL in registry.models():
            tracking_client(registry).delete_registered_model(MODEL)
        register_versions(registry, self.model)
        self.world = self._seen_by(redis, registry)
        self.kills = 0
        self.world.start()

    def settle(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Let controllers work until one finds nothing more to do at this moment.

        `meanwhile` runs while none of them does.
        """
        for _ in range(200):
            survives = self._deaths.randrange(7) if self._deaths else 10**6
            fate = Fate(survives)
            registry = sealed_registry(self._mlflow_url, timeout_seconds=10, retries=0)
            registry.api = DoomedMlflow(registry.api, fate)  # type: ignore[assignment]
            redis = doomed_redis(self._redis_url, fate)
            controller = self._seen_by(redis, registry).controller()
            try:
                while controller.step(self.model):
                    pass
                return
            except KilledError:
                self.kills += 1
                meanwhile()
            finally:
                redis.close()
        raise AssertionError(f"does not settle: {self.world.now.stage}")

    def pass_time(self, strategy: str, hours: float, requests: int, outcomes: bool = False) -> None:
        """Send payments along the stage's route as soon as it exists, then let time pass.

        If possible, no controller runs during the payments.
        """
        sent = 0

        def pay() -> None:
            nonlocal sent
            if not sent and self.world.route().strategy == strategy:
                sent = len(self.world.traffic(requests, outcomes, if_flagged=0.9))

        self.settle(meanwhile=pay)
        pay()
        assert sent == requests
        self.settle()
        self.world.pass_time(hours, outcomes, if_flagged=0.9)

    def end(self) -> dict[str, Any]:
        """Return all facts that must not depend on the kills."""
        world = self.world
        now = world.now
        content = world.rollouts.evidence(self.model)
        assert content is not None
        evidence = decode_evidence(content)
        return {
            "journey": [(step.before, step.after, step.why) for step in now.history],
            "counts": (
                evidence.stage,
                evidence.challenger,
                evidence.champion,
                evidence.labelled,
                evidence.tests,
            ),
            "roles": world.roles(),
            "route": (world.route().strategy, world.route().arms),
            "audited": [
                (e.kind, e.what, e.why)
                for e in world.audit.entries()
                if e.model == self.model and e.kind == "rollout"
            ],
            "routes": [
                e.what for e in world.audit.entries() if e.model == self.model and e.kind == "route"
            ],
            "told": sorted(m.title for m in world.inbox.newest(1000) if m.model == self.model),
        }

    def _seen_by(self, redis: Any, registry: ModelRegistry) -> Surroundings:
        return Surroundings(redis, registry, self.clock, spec_of(self.model, **QUICK), self.gateway)


def good(life: Life) -> None:
    life.pass_time("shadow", 2.1, 200)
    life.pass_time("canary", 4.1, 600)
    life.pass_time("blue_green", 48.1, 600, outcomes=True)
    life.settle()


def failing_canary(life: Life) -> None:
    life.pass_time("shadow", 2.1, 200)
    life.gateway.qualities["2"] = Quality(errors=1.0, flagged=0.1)
    life.pass_time("canary", 1.0, 300)
    life.settle()


def failing_champion(life: Life) -> None:
    life.settle()
    life.world.rollouts.request(
        life.model, RolloutRequest(action="promote", who="ada", why="now", wall_time=wall_now())
    )
    life.pass_time("blue_green", 1.0, 100)
    life.gateway.qualities["2"] = Quality(errors=0.5, flagged=0.1)
    life.pass_time("blue_green", 1.0, 200)
    life.settle()


@pytest.mark.parametrize(
    ("journey", "end"),
    [
        (good, Stage.DONE),
        (failing_canary, Stage.ROLLED_BACK),
        (failing_champion, Stage.ROLLED_BACK),
    ],
)
def test_killed_after_any_of_its_writes_it_goes_on_to_the_same_end(
    redis_server: RedisServer, mlflow_server: MlflowServer, journey: Any, end: Stage
) -> None:
    def ends(deaths: random.Random | None) -> tuple[dict[str, Any], int]:
        qualities = both(Quality(flagged=0.1), Quality(flagged=0.1))
        life = Life(redis_server.url, mlflow_server.url, qualities, deaths)
        journey(life)
        assert life.world.now.stage is end
        return life.end(), life.kills

    undisturbed, _ = ends(None)
    kills = 0
    for seed in range(3):
        killed, count = ends(random.Random(seed))
        kills += count
        assert killed == undisturbed, f"seed {seed}"
    assert kills >= 10, "or this shows nothing"
