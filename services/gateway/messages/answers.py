"""The answer for one instance, and how the gateway counts and logs it.

The model's task decides the columns of an answer.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec

from dojo.core.events.types import Prediction
from dojo.core.state.clock import wall_now
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.records import AnswerValues
from services.gateway.messages.requests import Instance, struct_name
from services.gateway.metrics import GatewayMetrics

# Field of an answer, and parameter of a V2 answer.
CACHED_SECONDS = "cached_seconds"


class Answer(Protocol):
    """One instance's prediction for the caller. The task's columns are further attributes.

    Attributes:
        version: Registry version that answered. 0 stands for the spec's fallback.
        arm: The entity's arm. With arm_failed in `degraded` another arm answered.
        degraded: The missing parts. None for a whole answer.
    """

    prediction_id: str
    version: str
    arm: str
    degraded: tuple[str, ...] | None


def age_of(answers: Sequence[Answer]) -> float | None:
    """Return the age of a request's repeated result, world seconds. None for a fresh one."""
    age: float | None = getattr(answers[0], CACHED_SECONDS, None)
    return age


class AnswerSchema:
    """The shape of one model's answers.

    Args:
        repeats: True for a model with a result cache. Its answers then have `cached_seconds`.

    Attributes:
        columns: The task's part of an answer.
        repeats: As the argument.
        type: Struct of an answer.
        body: Struct of a request's answers, one per instance, in order.
    """

    def __init__(self, model: str, task: Task, repeats: bool = False) -> None:
        self.columns = task.columns
        self.repeats = repeats
        version = msgspec.Meta(
            description="Registry version that answered; 0 when the spec's fallback did."
        )
        arm = msgspec.Meta(
            description=(
                "Arm of the model's route that this entity belongs to. With arm_failed in"
                " `degraded` another one answered."
            )
        )
        degraded = msgspec.Meta(description="What was missing; null when the answer is whole.")
        fields: list[Any] = [
            ("prediction_id", str),
            *((column.name, column.kind) for column in self.columns),
            ("version", Annotated[str, version]),
            ("arm", Annotated[str, arm]),
            ("degraded", Annotated[tuple[str, ...] | None, degraded]),
        ]
        cached = msgspec.Meta(
            description=(
                "World seconds since this result was computed for an equal request; null when it"
                " was computed for this one."
            )
        )
        if repeats:
            fields.append((CACHED_SECONDS, Annotated[float | None, cached]))
        self.type = msgspec.defstruct(f"{struct_name(model)}Answer", fields, frozen=True, gc=False)
        predictions: list[Any] = [
            ("predictions", Sequence[self.type]),  # type: ignore[name-defined]
        ]
        self.body = msgspec.defstruct(f"{struct_name(model)}Answers", predictions, frozen=True)

    def example(self, **changes: object) -> Any:
        """Return a whole answer, with `changes` to its values."""
        values = {column.name: column.example for column in self.columns}
        return self.type(
            **{
                "prediction_id": "9f2c61d07ab345e8-17",
                **values,
                "version": "3",
                "arm": "champion",
                "degraded": None,
                **({CACHED_SECONDS: None} if self.repeats else {}),
                **changes,
            }
        )


class Asked(NamedTuple):
    """What all instances of a request share.

    Attributes:
        generation: The route's. 0 without a route.
        started: `time.perf_counter()` at the request's arrival.
    """

    generation: int
    started: float
    world_now: datetime
    trace_id: str


class AnswerLog:
    """Makes, counts and logs one model's answers.

    Args:
        append: Takes each event for the prediction log. It must not block.
    """

    def __init__(
        self,
        model: str,
        schema: AnswerSchema,
        append: Callable[[Prediction], None],
        metrics: GatewayMetrics,
    ) -> None:
        self._model = model
        self._type, self._repeats = schema.type, schema.repeats
        self._append = append
        self._metrics = metrics
        # Unique without a system call per prediction, by 64 random bits per process and a counter.
        self._id_prefix = secrets.token_hex(8)
        self._ids = itertools.count()
        self._counters: dict[tuple[str, str], _Counters] = {}

    def answer(
        self,
        score: float,
        given: AnswerValues,
        version: str,
        arm: str,
        degraded: tuple[str, ...],
        cached_seconds: float | None = None,
    ) -> Answer:
        """Make and count an answer."""
        prediction_id = f"{self._id_prefix}-{next(self._ids)}"
        age = (cached_seconds,) if self._repeats else ()
        made: Any = self._type(prediction_id, *given.values, version, arm, degraded or None, *age)
        answer: Answer = made
        counters = self._counters.get((version, arm))
        if counters is None:
            counters = self._counters[version, arm] = _Counters(
                self._metrics, self._model, version, arm
            )
        counters.count(score, given.flagged, answer.degraded)
        return answer

    def log(
        self,
        answer: Answer,
        score: float,
        flagged: bool | None,
        instance: Instance,
        entity_keys: dict[str, str],
        features: dict[str, float],
        ages: dict[str, float | None],
        asked: Asked,
        seconds: float,
        propensity: float,
        cached_seconds: float | None = None,
        new_categories: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Log an answer.

        Args:
            seconds: Wall time from the request's arrival until this instance was scored.
            propensity: Probability with which the route chose the arm.
            cached_seconds: As in the answer.
            new_categories: Field -> a category that the version does not know.
        """
        self._append(
            Prediction(
                event_id=Prediction.id_for(answer.prediction_id),
                world_time=asked.world_now,
                wall_time=wall_now(),
                prediction_id=answer.prediction_id,
                request_id=instance.request_id or answer.prediction_id,
                model=self._model,
                version=answer.version,
                arm=answer.arm,
                entity_keys=entity_keys,
                features=features,
                feature_age_seconds=ages,
                score=score,
                flagged=flagged,
                latency_seconds=seconds,
                degraded=answer.degraded or (),
                route_generation=asked.generation,
                trace_id=asked.trace_id,
                propensity=propensity,
                cached_seconds=cached_seconds,
                new_categories=dict(new_categories),
            )
        )


class _Counters:
    """The metrics of one version in one arm with bound labels. Binding costs more than counting."""

    def __init__(self, metrics: GatewayMetrics, model: str, version: str, arm: str) -> None:
        self._predictions = metrics.predictions.labels(model, version, arm)
        self._flagged = metrics.flagged.labels(model, version)
        self._score = metrics.score.labels(model, version)
        self._degraded = metrics.degraded
        self._model = model

    def count(self, score: float, flagged: bool | None, degraded: tuple[str, ...] | None) -> None:
        self._predictions.inc()
        self._score.observe(score)
        if flagged:
            self._flagged.inc()
        for reason in degraded or ():
            self._degraded.labels(self._model, reason).inc()
