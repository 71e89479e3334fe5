"""What a caller gets for one instance, and what is counted and logged of it."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from dojo.core.events.types import Prediction
from dojo.core.state.clock import wall_now
from services.gateway.messages.requests import Instance
from services.gateway.metrics import GatewayMetrics


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One instance's prediction."""

    prediction_id: str
    score: Annotated[float, msgspec.Meta(ge=0, le=1, description="Probability of the positive class.")]
    flagged: Annotated[bool, msgspec.Meta(description="The score is at or above the version's threshold.")]
    version: Annotated[str, msgspec.Meta(description="Registry version that answered; 0 when the spec's fallback did.")]
    arm: Annotated[
        str,
        msgspec.Meta(
            description="Arm of the model's route that this entity belongs to. With arm_failed in `degraded` another one answered."
        ),
    ]
    degraded: Annotated[tuple[str, ...] | None, msgspec.Meta(description="What was missing; null when the answer is whole.")]


class PredictAnswer(msgspec.Struct, frozen=True):
    """One prediction per instance, in order."""

    predictions: Sequence[Answer]


class AnswerLog:
    """Makes, counts and logs one model's answers.

    Args:
        append: takes each event for the prediction log; must not block.
    """

    def __init__(self, model: str, append: Callable[[Prediction], None], metrics: GatewayMetrics) -> None:
        self._model = model
        self._append = append
        self._metrics = metrics
        # Unique without a system call per prediction: 64 random bits per process, then a counter.
        self._id_prefix = secrets.token_hex(8)
        self._ids = itertools.count()
        self._counters: dict[tuple[str, str], _Counters] = {}

    def answer(self, score: float, flagged: bool, version: str, arm: str, degraded: tuple[str, ...]) -> Answer:
        """A new answer, counted."""
        answer = Answer(f"{self._id_prefix}-{next(self._ids)}", score, flagged, version, arm, degraded or None)
        counters = self._counters.get((version, arm))
        if counters is None:
            counters = self._counters[version, arm] = _Counters(self._metrics, self._model, version, arm)
        counters.count(answer)
        return answer

    def log(
        self,
        answer: Answer,
        instance: Instance,
        entity_keys: dict[str, str],
        features: dict[str, float],
        ages: dict[str, float | None],
        generation: int,
        world_now: datetime,
        seconds: float,
    ) -> None:
        """seconds: wall time from the request's arrival until this instance was scored."""
        self._append(
            Prediction(
                event_id=Prediction.id_for(answer.prediction_id),
                world_time=world_now,
                wall_time=wall_now(),
                prediction_id=answer.prediction_id,
                request_id=instance.request_id or answer.prediction_id,
                model=self._model,
                version=answer.version,
                arm=answer.arm,
                entity_keys=entity_keys,
                features=features,
                feature_age_seconds=ages,
                score=answer.score,
                flagged=answer.flagged,
                latency_seconds=seconds,
                degraded=answer.degraded or (),
                route_generation=generation,
            )
        )


class _Counters:
    """The metrics of one version in one arm with their labels already bound: binding costs more than counting."""

    def __init__(self, metrics: GatewayMetrics, model: str, version: str, arm: str) -> None:
        self._predictions = metrics.predictions.labels(model, version, arm)
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
