"""Scoring a request's instances with the arms of the route. Other arms stand in for failures.

    chosen arm -> the other live arms, in the route's order -> none (the spec's fallback answers)

An experiment's arm gets the rest of the deadline less a reserve. A stand-in can then still answer
in time. A trusted version is scored in this process, and that cannot be interrupted. It takes
microseconds, and the version is verified and warm before it serves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from dojo.core.spec.schema import ModelSpec
from services.gateway.features.lookup import FeaturePlan, FeatureSource, StoredFeatures
from services.gateway.metrics import GatewayMetrics
from services.gateway.versions.arms import ServedArm, ServedRoute

# Reserve of the deadline for scoring and answering, seconds. 5 ms is 20 times the need of one
# instance.
RESERVED_SECONDS = 0.005
# Reserve of the deadline while an experiment's arm scores, seconds and share. It covers the
# champion's scoring, the answer, and a busy machine's scheduling.
STAND_IN_SECONDS, STAND_IN_SHARE = 0.02, 0.25

Keys: TypeAlias = Mapping[str, str]  # entity -> key
Inputs: TypeAlias = Mapping[str, float]  # request input -> value


class Scoring:
    """One instance's way through the arms.

    Attributes:
        chosen: The arm that the route chose.
        by: The arm that scored. None while no arm has.
        failed: The arms that could not score.
        stored: Stored features for `by`.
        row: The scored row, in the order of the features of `by`.
        score: The score by `by`.
        seconds: Time of scoring alone.
        done: `time.perf_counter()` when the last arm asked had scored it or failed. Instances of
            other arms in the same request end at other times. A fast arm is not charged with a
            slow one's time.
    """

    __slots__ = ("by", "chosen", "done", "failed", "row", "score", "seconds", "stored")

    def __init__(self, chosen: ServedArm) -> None:
        self.chosen = chosen
        self.by: ServedArm | None = None
        self.failed: tuple[ServedArm, ...] = ()
        self.stored = StoredFeatures((), ())
        self.row: list[float] = []
        self.score = 0.0
        self.seconds = 0.0
        self.done = 0.0


class _ScoringRequest:
    """The shared state of all rounds over one request's instances."""

    __slots__ = ("inputs", "scorings", "started", "stored")

    def __init__(self, scorings: list[Scoring], inputs: Sequence[Inputs], started: float) -> None:
        self.scorings = scorings
        self.inputs = inputs
        self.started = started
        self.stored: dict[
            FeaturePlan, dict[int, StoredFeatures]
        ] = {}  # plan -> instance -> features


class ArmScorer:
    """Scores the instances of one model's requests."""

    def __init__(self, spec: ModelSpec, features: FeatureSource, metrics: GatewayMetrics) -> None:
        self._model = spec.name
        self._features = features
        self._metrics = metrics
        self._deadline = spec.serving.deadline.total_seconds()
        self._feature_timeout = spec.serving.feature_timeout.total_seconds()
        self._stand_in = min(STAND_IN_SECONDS, STAND_IN_SHARE * self._deadline)

    async def score(
        self,
        route: ServedRoute,
        keys: Sequence[Keys],
        inputs: Sequence[Inputs],
        entity: str,
        started: float,
    ) -> list[Scoring]:
        """Return a result per instance. Never raises.

        Args:
            entity: The entity whose key decides the arm.
            started: `time.perf_counter()` at the request's arrival.
        """
        request = _ScoringRequest(
            [Scoring(route.choose(of[entity])) for of in keys], inputs, started
        )
        await self._look_up(route, keys, request)
        turn: dict[ServedArm, list[int]] = {}
        for at, scoring in enumerate(request.scorings):
            turn.setdefault(scoring.chosen, []).append(at)
        while turn:
            if len(turn) == 1:
                ((arm, instances),) = turn.items()
                await self._ask(arm, instances, request)
            else:
                await asyncio.gather(
                    *(self._ask(arm, instances, request) for arm, instances in turn.items())
                )
            turn = self._stand_ins(route, turn, request)
        return request.scorings

    async def _look_up(
        self, route: ServedRoute, keys: Sequence[Keys], request: _ScoringRequest
    ) -> None:
        """Look up stored features for each instance's arm, and for its stand-in.

        There is no time for a second lookup later.
        """
        wanted: dict[FeaturePlan, list[int]] = {}
        for at, scoring in enumerate(request.scorings):
            for plan in {scoring.chosen.plan, route.live[0].plan}:
                wanted.setdefault(plan, []).append(at)
        asked = time.perf_counter()
        timeout = min(
            self._feature_timeout, self._deadline - RESERVED_SECONDS - (asked - request.started)
        )
        lookups = [
            self._features.fetch(plan, [keys[at] for at in instances], timeout)
            for plan, instances in wanted.items()
        ]
        found = [await lookups[0]] if len(lookups) == 1 else await asyncio.gather(*lookups)
        self._metrics.lookup.observe(time.perf_counter() - asked)
        request.stored = {
            plan: dict(zip(instances, features, strict=True))
            for (plan, instances), features in zip(wanted.items(), found, strict=True)
        }

    async def _ask(
        self, arm: ServedArm, instances: Sequence[int], request: _ScoringRequest
    ) -> None:
        plan, stored = arm.plan, request.stored[arm.plan]
        rows = np.array(
            [plan.vector(stored[at].rows, request.inputs[at]) for at in instances], dtype=np.float32
        )
        remaining = self._deadline - self._stand_in - (time.perf_counter() - request.started)
        results = await arm.served.score(rows, remaining)
        done = time.perf_counter()
        for at, row, result in zip(instances, rows.tolist(), results, strict=True):
            scoring = request.scorings[at]
            scoring.done = done
            if result.score is None:
                scoring.failed += (arm,)
                self._metrics.arm_failed.labels(self._model, arm.name, result.error).inc()
            else:
                scoring.by, scoring.stored, scoring.row = arm, stored[at], row
                scoring.score, scoring.seconds = result.score, result.seconds

    def _stand_ins(
        self, route: ServedRoute, asked: Mapping[ServedArm, Sequence[int]], request: _ScoringRequest
    ) -> dict[ServedArm, list[int]]:
        """Return the next arm for each instance that the last round left without a score."""
        turn: dict[ServedArm, list[int]] = {}
        for instances in asked.values():
            for at in instances:
                scoring = request.scorings[at]
                if scoring.by is None:
                    for arm in route.live:
                        if arm not in scoring.failed and at in request.stored.get(arm.plan, ()):
                            turn.setdefault(arm, []).append(at)
                            break
        return turn
