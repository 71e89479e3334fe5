"""One request's way: stored features, input vector, score, answer, event. Every step has a fallback and every fallback a name.

no version can score      -> the spec's fallback score, version "0"      model_unavailable
the world has no time yet -> the wall's time                             world_clock_unset
features                  -> see services/gateway/features.py
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from dojo.clock import wall_now
from dojo.events import Prediction
from dojo.specs import ModelSpec
from services.gateway.features import FeatureSource, StoredFeatures
from services.gateway.metrics import Metrics
from services.gateway.requests import TIME_INPUT, Instance, InstanceSchema
from services.gateway.serving import ServedModel
from services.gateway.world import GatewayClock

MODEL_UNAVAILABLE = "model_unavailable"
CLOCK_UNSET = "world_clock_unset"

# The version that answers when none can, and the one role that this gateway knows.
NO_VERSION = "0"
CHAMPION_ARM = "champion"

ONNX_ERRORS = (Fail, InvalidArgument, RuntimeException)

# What is kept of the deadline for scoring and answering, seconds: 5 ms is 20 times what one instance needs.
RESERVED_SECONDS = 0.005


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One instance's prediction, as the caller gets it. `degraded` is null when the answer is whole."""

    prediction_id: str
    score: float
    flagged: bool
    version: str
    arm: str
    degraded: tuple[str, ...] | None


class Predictor:
    """Predictions of one model.

    Args:
        append: takes each event for the prediction log; must not block.
    """

    def __init__(
        self,
        spec: ModelSpec,
        schema: InstanceSchema,
        features: FeatureSource,
        clock: GatewayClock,
        append: Callable[[Prediction], None],
        metrics: Metrics,
    ) -> None:
        self._spec = spec
        self._keys = tuple(schema.keys.items())
        self._numbers = schema.numbers
        self._features = features
        self._clock = clock
        self._append = append
        self._metrics = metrics
        self._deadline = spec.serving.deadline.total_seconds()
        self._feature_timeout = spec.serving.feature_timeout.total_seconds()
        # Unique without a system call per prediction: 64 random bits per process, then a counter.
        self._id_prefix = secrets.token_hex(8)
        self._ids = itertools.count()
        self._bound: dict[str, _BoundMetrics] = {}

    async def predict(self, served: ServedModel | None, instances: Sequence[Instance], started: float) -> list[Answer]:
        """Answer each instance. Never raises.

        Args:
            served: the version to ask; None when there is none.
            started: `time.perf_counter()` at the request's arrival.
        """
        world_now = self._clock.now()
        keys = [{entity: getattr(instance, join_key) for entity, join_key in self._keys} for instance in instances]
        scored = await self._scored(served, instances, keys, world_now, started) if served else None
        if served is None or scored is None:
            return self._fallback(instances, keys, world_now, started)
        stored, rows, scores = scored

        bound = self._bound_to(served.version)
        threshold, names, plan = served.bundle.threshold, served.bundle.features, served.plan
        clock_unset = () if self._clock.is_set else (CLOCK_UNSET,)
        now_unix = world_now.timestamp()
        answers = []
        for instance, entity_keys, features, row, score in zip(instances, keys, stored, rows, scores, strict=True):
            degraded = features.degraded + clock_unset
            ages = plan.ages(features.rows, now_unix)
            for view, age in ages.items():
                if age is not None and age > plan.freshness_sla.get(view, age):
                    self._metrics.stale.labels(view).inc()
            answer = self._answer(score, score >= threshold, served.version, degraded)
            answers.append(answer)
            bound.count(answer)
            self._log(answer, instance, entity_keys, dict(zip(names, row, strict=True)), ages, world_now, started)
        return answers

    async def _scored(
        self,
        served: ServedModel,
        instances: Sequence[Instance],
        keys: Sequence[Mapping[str, str]],
        world_now: datetime,
        started: float,
    ) -> tuple[list[StoredFeatures], list[list[float]], list[float]] | None:
        """Stored features, the values scored, and the scores; None when the version cannot score."""
        asked = time.perf_counter()
        remaining = self._deadline - RESERVED_SECONDS - (asked - started)
        stored = await self._features.fetch(served.plan, keys, min(self._feature_timeout, remaining))
        self._metrics.lookup.observe(time.perf_counter() - asked)
        vectors = [
            served.plan.vector(features.rows, self._inputs(instance, world_now))
            for instance, features in zip(instances, stored, strict=True)
        ]
        try:
            rows, scores = served.score(vectors)
        except ONNX_ERRORS:
            return None
        return stored, rows, scores

    def _inputs(self, instance: Instance, world_now: datetime) -> dict[str, float]:
        inputs = {name: getattr(instance, name) for name in self._numbers}
        inputs[TIME_INPUT] = (instance.transaction_time or world_now).timestamp()
        return inputs

    def _fallback(
        self, instances: Sequence[Instance], keys: Sequence[dict[str, str]], world_now: datetime, started: float
    ) -> list[Answer]:
        """Without a version there is no threshold either: nothing is flagged, the fallback's reason is in the spec."""
        bound = self._bound_to(NO_VERSION)
        answers = []
        for instance, entity_keys in zip(instances, keys, strict=True):
            answer = self._answer(self._spec.serving.fallback_score, False, NO_VERSION, (MODEL_UNAVAILABLE,))
            answers.append(answer)
            bound.count(answer)
            self._log(answer, instance, entity_keys, {}, {}, world_now, started)
        return answers

    def _answer(self, score: float, flagged: bool, version: str, degraded: tuple[str, ...]) -> Answer:
        return Answer(f"{self._id_prefix}-{next(self._ids)}", score, flagged, version, CHAMPION_ARM, degraded or None)

    def _log(
        self,
        answer: Answer,
        instance: Instance,
        entity_keys: dict[str, str],
        features: dict[str, float],
        ages: dict[str, float | None],
        world_now: datetime,
        started: float,
    ) -> None:
        self._append(
            Prediction(
                event_id=Prediction.id_for(answer.prediction_id),
                world_time=world_now,
                wall_time=wall_now(),
                prediction_id=answer.prediction_id,
                request_id=instance.request_id or answer.prediction_id,
                model=self._spec.name,
                version=answer.version,
                arm=answer.arm,
                entity_keys=entity_keys,
                features=features,
                feature_age_seconds=ages,
                score=answer.score,
                flagged=answer.flagged,
                latency_seconds=time.perf_counter() - started,
                degraded=answer.degraded or (),
            )
        )

    def _bound_to(self, version: str) -> _BoundMetrics:
        if version not in self._bound:
            self._bound[version] = _BoundMetrics(self._metrics, self._spec.name, version)
        return self._bound[version]


class _BoundMetrics:
    """The metrics of one version with their labels already bound: binding costs more than counting."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        self._predictions = metrics.predictions.labels(model, version, CHAMPION_ARM)
        self._flagged = metrics.flagged.labels(model, version)
        self._score = metrics.score.labels(model, version)
        self._degraded = metrics.degraded
        self._model = model

    def count(self, answer: Answer) -> None:
        self._predictions.inc()
        self._score.observe(answer.score)
        if answer.flagged:
            self._flagged.inc()
        for reason in answer.degraded or ():
            self._degraded.labels(self._model, reason).inc()
