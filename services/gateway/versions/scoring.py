"""Scoring a request's instances with the arms of the route. Other arms stand in for failures.

    chosen arm -> the other live arms, in the route's order -> none (the spec's fallback answers)

Requests of one turn of the event loop share a batch per arm. A batch makes one feature lookup, one
matrix and one run of the model. Alone, each request would pay for all three. A spec's `batching`
lets a batch wait for more requests (batches.py). A spec's `result_cache` lets equal requests repeat
results (result_cache.py).

An arm in a process of its own gets the rest of the deadline less a reserve. A stand-in can then
still answer in time. A trusted and fast version is scored in this process, and that cannot be
interrupted. It takes microseconds, and the version is verified and warm before it serves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence

import numpy as np

from dojo.core.spec.schema import ModelSpec
from services.gateway.features.lookup import FeaturePlan, FeatureSource, StoredFeatures
from services.gateway.metrics import GatewayMetrics
from services.gateway.versions.arms import ServedArm, ServedRoute
from services.gateway.versions.batches import (
    ChosenRow,
    Inputs,
    Keys,
    OpenBatches,
    Scoring,
    SharedBatch,
)
from services.gateway.versions.result_cache import KeptScore, Question, ResultCache

# Reserve of the deadline for scoring and answering, seconds. 5 ms is 20 times the need of one
# instance.
RESERVED_SECONDS = 0.005
# Reserve of the deadline while an experiment's arm scores, seconds and share. It covers the
# champion's scoring, the answer, and a busy machine's scheduling.
STAND_IN_SECONDS, STAND_IN_SHARE = 0.02, 0.25


class ArmScorer:
    """Scores the instances of one model's requests.

    Args:
        numbers: Names of the request's inputs, without its time.
    """

    def __init__(
        self,
        spec: ModelSpec,
        features: FeatureSource,
        metrics: GatewayMetrics,
        numbers: Sequence[str] = (),
    ) -> None:
        self._model = spec.name
        self._features = features
        self._metrics = metrics
        self._sticky_entity = spec.entities[0]
        self._deadline = spec.serving.deadline.total_seconds()
        self._feature_timeout = spec.serving.feature_timeout.total_seconds()
        self._stand_in = min(STAND_IN_SECONDS, STAND_IN_SHARE * self._deadline)
        self._looking_up = metrics.layers.labels(spec.name, "lookup")
        self._scoring = metrics.layers.labels(spec.name, "score")
        self._batch_rows = metrics.batch_rows.labels(spec.name)
        self._cache: ResultCache | None = None
        if spec.result_cache is not None:
            self._cache = ResultCache(spec.name, spec.result_cache, numbers, metrics)
        patience = self._deadline - self._stand_in - self._feature_timeout
        self._batches = OpenBatches(spec.serving.batching, patience, self._run)

    def score(
        self,
        route: ServedRoute,
        keys: Sequence[Keys],
        inputs: Sequence[Inputs],
        started: float,
        request_ids: Sequence[str] = (),
        now: float | None = None,
    ) -> Awaitable[list[Scoring]]:
        """Return a result per instance.

        Args:
            started: `time.perf_counter()` at the request's arrival.
            request_ids: The caller's id of each instance. Empty where no route draws by it.
            now: The world's now, unix seconds. None while it is not known. Nothing is repeated
                then.
        """
        request_ids = request_ids or ("",) * len(keys)
        if route.in_context is not None:
            return self._score_in_context(
                route, route.in_context, keys, inputs, started, request_ids
            )
        chosen = [
            route.choose(of[self._sticky_entity], request_id)
            for of, request_id in zip(keys, request_ids, strict=True)
        ]
        asked = [
            ChosenRow(of, sent, propensity)
            for of, sent, (_, propensity) in zip(keys, inputs, chosen, strict=True)
        ]
        arms = [arm for arm, _ in chosen]
        if self._cache is not None and now is not None:
            question = self._cache.question(route, arms, keys, inputs, now)
            if question is not None:
                return self._repeat_or_score(self._cache, question, route, arms, asked, started)
        return self._score_chosen(route, arms, asked, started)

    async def _repeat_or_score(
        self,
        cache: ResultCache,
        question: Question,
        route: ServedRoute,
        chosen: Sequence[ServedArm],
        asked: Sequence[ChosenRow],
        started: float,
    ) -> list[Scoring]:
        """Repeat the results of an equal request. Without them, score, and keep whole results."""
        found = cache.find(question)
        if found is not None:
            return _repeated(*found, chosen, asked)
        scored = await self._score_chosen(route, chosen, asked, started)
        if all(one.by is one.chosen and not one.stored.degraded for one in scored):
            cache.keep(question, [_kept(one) for one in scored])
        return scored

    async def _score_in_context(
        self,
        route: ServedRoute,
        plan: FeaturePlan,
        keys: Sequence[Keys],
        inputs: Sequence[Inputs],
        started: float,
        request_ids: Sequence[str],
    ) -> list[Scoring]:
        """Look the features up first, because they decide about the arm."""
        stored = await self._look_up((plan,), keys, started, requests=1)
        chosen, asked = [], []
        for of, sent, found, request_id in zip(
            keys, inputs, stored[plan], request_ids, strict=True
        ):
            # In the precision of the scored row, which the event keeps. So a draw can be repeated.
            row = np.array(plan.vector(found.rows, sent), dtype=np.float32).tolist()
            arm, propensity = route.choose(
                of[self._sticky_entity], request_id, dict(zip(plan.features, row, strict=True))
            )
            chosen.append(arm)
            asked.append(ChosenRow(of, sent, propensity, found))
        return await self._score_chosen(route, chosen, asked, started)

    def _score_chosen(
        self,
        route: ServedRoute,
        chosen: Sequence[ServedArm],
        asked: Sequence[ChosenRow],
        started: float,
    ) -> Awaitable[list[Scoring]]:
        if all(arm is chosen[0] for arm in chosen):
            return self._batches.join(route, chosen[0], asked, started)
        return self._score_apart(route, chosen, asked, started)

    async def _score_apart(
        self,
        route: ServedRoute,
        chosen: Sequence[ServedArm],
        asked: Sequence[ChosenRow],
        started: float,
    ) -> list[Scoring]:
        """Score a request with instances of several arms."""
        places: dict[ServedArm, list[int]] = {}
        for at, arm in enumerate(chosen):
            places.setdefault(arm, []).append(at)
        parts = await asyncio.gather(
            *(
                self._batches.join(route, arm, [asked[at] for at in own], started)
                for arm, own in places.items()
            )
        )
        scored = {
            at: scoring
            for own, part in zip(places.values(), parts, strict=True)
            for at, scoring in zip(own, part, strict=True)
        }
        return [scored[at] for at in range(len(asked))]

    async def _run(self, batch: SharedBatch) -> None:
        self._batch_rows.observe(len(batch.keys))
        try:
            if len(batch.stored) == len(batch.keys):
                stored = {batch.arms[0].plan: batch.stored}
            else:
                stored = await self._look_up(
                    batch.plans, batch.keys, batch.started, len(batch.waiting)
                )
            left: Sequence[int] = range(len(batch.keys))
            for arm in batch.arms:
                if arm.plan in stored:
                    left = await self._ask(arm, left, stored[arm.plan], batch)
                    batch.answer(whole_only=bool(left))
                if not left:
                    return
            batch.answer(whole_only=False)
        except Exception as error:  # a defect: each caller's request fails, and none waits for ever
            batch.fail(error)

    async def _look_up(
        self, plans: Sequence[FeaturePlan], keys: Sequence[Keys], started: float, requests: int
    ) -> dict[FeaturePlan, list[StoredFeatures]]:
        """Return the stored features of each plan, timed once for each of the requests."""
        asked = time.perf_counter()
        timeout = min(self._feature_timeout, self._deadline - RESERVED_SECONDS - (asked - started))
        lookups = [self._features.fetch(plan, keys, timeout) for plan in plans]
        found = [await lookups[0]] if len(lookups) == 1 else await asyncio.gather(*lookups)
        self._looking_up.observe(time.perf_counter() - asked, requests)
        return dict(zip(plans, found, strict=True))

    async def _ask(
        self,
        arm: ServedArm,
        instances: Sequence[int],
        stored: Sequence[StoredFeatures],
        batch: SharedBatch,
    ) -> list[int]:
        """Score instances with an arm. Return the ones without a score."""
        began = time.perf_counter()
        vector, inputs, scorings = arm.plan.vector, batch.inputs, batch.scorings
        rows = np.array([vector(stored[at].rows, inputs[at]) for at in instances], dtype=np.float32)
        remaining = self._deadline - self._stand_in - (began - batch.started)
        results = await arm.served.score(rows, remaining)
        done = time.perf_counter()
        self._scoring.observe(done - began, len(batch.waiting))
        failed = []
        for at, row, result in zip(instances, rows.tolist(), results, strict=True):
            scoring = scorings[at]
            scoring.done = done
            if result.score is None:
                failed.append(at)
                scoring.failed += (arm,)
                self._metrics.arm_failed.labels(self._model, arm.name, result.error).inc()
            else:
                scoring.by, scoring.stored, scoring.row = arm, stored[at], row
                scoring.score, scoring.seconds = result.score, result.seconds
        return failed


def _kept(scoring: Scoring) -> KeptScore:
    stamps = tuple([row.timestamps for row in scoring.stored.rows])
    return KeptScore(scoring.row, scoring.score, scoring.seconds, stamps)


def _repeated(
    results: Sequence[KeptScore],
    age: float,
    chosen: Sequence[ServedArm],
    asked: Sequence[ChosenRow],
) -> list[Scoring]:
    """Return kept results as those of another request."""
    done, scorings = time.perf_counter(), []
    for result, arm, one in zip(results, chosen, asked, strict=True):
        scoring = Scoring(arm, one.propensity)
        scoring.by, scoring.stored, scoring.row = arm, result.stored, result.row
        scoring.score, scoring.seconds = result.score, result.seconds
        scoring.done, scoring.cached_seconds = done, age
        scorings.append(scoring)
    return scorings
