"""The platform's own events. Like all events they are immutable, versioned, self-describing.

`world_time` is when it happened in the world, `wall_time` when a process wrote it down. Writing the
same fact twice gives the same `event_id`. Every consumer may therefore drop events it has seen.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

import msgspec

from dojo.core.judging.drift import Finding
from dojo.core.severity import Severity

# Checked when decoding, so that one wrong producer cannot put an unusable row into the lake.
AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
Identifier = Annotated[str, msgspec.Meta(min_length=1)]

# World times outside these bounds are a producer's fault. A zero timestamp (1970) would make
# features of half a century due. A clock centuries ahead would make all real events look old.
EARLIEST, LATEST = datetime(1971, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Stream(StrEnum):
    """The platform's own streams of the event log. `streams.py` adds the domain's."""

    PREDICTIONS = "predictions"
    OUTCOMES = "outcomes"
    SHADOWS = "shadows"
    VERDICTS = "verdicts"
    BATCH_SCORES = "batch_scores"  # written by pipelines straight to the lake


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The common fields of every event. Times are UTC and timezone-aware.

    A reader ignores an unknown field. Processes are upgraded one after the other, and a writer may
    come first.

    Attributes:
        identity: The fields by which a repetition of the event is known.
    """

    stream: ClassVar[str]
    identity: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: Identifier
    world_time: AwareTime
    wall_time: AwareTime
    schema_version: int = 1

    def __post_init__(self) -> None:
        if not EARLIEST <= self.world_time < LATEST:
            raise ValueError(
                f"world_time {self.world_time} lies outside {EARLIEST:%Y-%m-%d} to"
                f" {LATEST:%Y-%m-%d}"
            )


class Outcome(Event, frozen=True, kw_only=True):
    """The label of a request, for one model. It arrives after that model's label delay.

    A later outcome of the same request corrects it, with the same `event_id` or another one.

    Attributes:
        world_time: When the label became known.
        model: The model that it labels. One request may have a label for each of several models.
        request_id: Joins the label to predictions, and to the request's event.
        request_time: World time of the request's event.
        label: The truth, in the unit of the model's task. It is 0 or 1, a value, or a relevance.
            None if it will never be known, because the answer was acted on.
        hidden_by: What was done about the answer and hides the label, such as "declined". Empty
            where there is a label.
        weight: How much the label counts, >= 1. It is above 1 if answers like this one are acted
            on, and this request was let through by chance. It then stands for 1 / share like
            requests. In a ranking it is the inverse of the share of people who look at its rank.
    """

    stream: ClassVar[Stream] = Stream.OUTCOMES
    identity: ClassVar[tuple[str, ...]] = (
        "event_id",
        "world_time",
        "label",
    )  # a correction is no repetition

    model: Identifier
    request_id: Identifier
    request_time: AwareTime
    label: float | None
    hidden_by: str = ""
    weight: Annotated[float, msgspec.Meta(ge=1)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.label is None) != bool(self.hidden_by):  # a NaN in JSON is null as well
            raise ValueError(f"label {self.label} does not fit hidden_by {self.hidden_by!r}")

    @staticmethod
    def id_for(model: str, request_id: str) -> str:
        return f"outcome-{model}-{request_id}"


class Prediction(Event, frozen=True, kw_only=True):
    """One answer of the gateway, with everything needed to explain it later.

    Attributes:
        prediction_id: Id of this answer.
        request_id: The caller's id for the request, such as an event's. It joins outcomes.
        model: The model.
        version: The version that answered. When the arm failed it is another version's, and
            `degraded` has "arm_failed". It is "0" when no version could answer and the spec's
            fallback did.
        arm: The arm chosen by the route for the request.
        entity_keys: Entity name -> key, as sent.
        features: Feature name -> the exact value that was scored, in the model's input order. A
            category is its number (dojo/core/categories.py).
        feature_age_seconds: Feature view -> age of its values in world seconds. None without
            values.
        score: The score of the version or the fallback, in the unit of the model's task.
        flagged: True if the answer asked for an action. None where the task flags nothing.
        latency_seconds: Wall time from the request's arrival until this instance was scored.
            Instances of one request differ when different arms scored them.
        degraded: Reasons why the answer is degraded. Empty when it is whole.
        route_generation: Generation of the route. 0 while a model has no route and the registry's
            champion serves. Also 0 after a gateway's start until all of the route's versions are
            loaded.
        trace_id: The request's trace, as the answer's `traceresponse` header has it. Empty from a
            gateway without traces.
        propensity: Probability with which the route drew the arm for this request. 0 for a caller
            who named the version, so that nothing was drawn.
        cached_seconds: World time since the result was computed for an equal request, which this
            answer repeats. None if it was computed for this request.
        new_categories: Feature -> name of a category that the version does not know.
    """

    stream: ClassVar[Stream] = Stream.PREDICTIONS

    prediction_id: str
    request_id: str
    model: str
    version: str
    arm: str
    entity_keys: dict[str, str]
    features: dict[str, float]
    feature_age_seconds: dict[str, float | None]
    score: float
    flagged: bool | None
    latency_seconds: float
    degraded: tuple[str, ...] = ()
    route_generation: Annotated[int, msgspec.Meta(ge=0)] = 0
    trace_id: str = ""
    propensity: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    cached_seconds: float | None = None
    new_categories: dict[str, str] = {}

    @staticmethod
    def id_for(prediction_id: str) -> str:
        return f"prediction-{prediction_id}"


class Shadow(Event, frozen=True, kw_only=True):
    """A shadow's answer to a mirrored request, beside the answer that the caller got.

    It had no effect on the caller.

    Attributes:
        prediction_id: Id of the answer that the caller got.
        request_id: The caller's id for the request.
        model: The model.
        version: The shadow's version.
        route_generation: Generation of the route.
        score: The shadow's score. None when it failed.
        flagged: True if the shadow would have flagged. None when it failed.
        scoring_seconds: Wall time of the shadow's scoring alone, without the feature lookup.
        champion_version: The version that answered.
        champion_score: Its score.
        champion_flagged: True if its answer was flagged.
        champion_scoring_seconds: Wall time of its scoring alone.
        error: How the shadow failed. Empty when it did not.
    """

    stream: ClassVar[Stream] = Stream.SHADOWS

    prediction_id: str
    request_id: str
    model: str
    version: str
    route_generation: int
    score: float | None
    flagged: bool | None
    scoring_seconds: float
    champion_version: str
    champion_score: float
    champion_flagged: bool | None
    champion_scoring_seconds: float
    error: str = ""

    @staticmethod
    def id_for(prediction_id: str) -> str:
        return f"shadow-{prediction_id}"


class BatchScore(Event, frozen=True, kw_only=True):
    """The score that a version gave a recorded request after its day had ended.

    It had no effect on the caller.

    Attributes:
        world_time: World time of the request's event. Features are as of this time.
        wall_time: Begin of the run, the same at every try.
        model: The model.
        version: The version that scored.
        request_id: The caller's id for the request.
        entity_keys: Entity name -> key.
        score: The version's score, in the unit of the model's task.
        flagged: True if an online answer would have asked for an action. None where the task flags
            nothing.
    """

    stream: ClassVar[Stream] = Stream.BATCH_SCORES

    model: Identifier
    version: Identifier
    request_id: Identifier
    entity_keys: dict[str, str]
    score: float
    flagged: bool | None

    @staticmethod
    def id_for(model: str, version: str, request_id: str) -> str:
        return f"batch-{model}-{version}-{request_id}"


# The subject of a verdict.
Check = Literal[
    "input_drift",  # features, one by one, against the version's reference profile (PSI)
    "prediction_drift",  # scores, and shown items, against the profile's
    "data_quality",  # values missing or out of range
    "flagged_rate",  # share of flagged answers, which stands in until labels arrive
    "estimated_performance",  # PR-AUC expected from the scores alone, another stand-in
    "performance",  # catch rate, false positives and PR-AUC of labelled predictions
    "segments",  # performance by group of customers
    "label_delay",  # how late labels arrive
    "labels_missing",  # share of the labels due on a day that did not arrive
    "skew",  # served feature values against offline values
    "feature_freshness",  # views against their SLA
    "model_freshness",  # the champion's age
]


class Verdict(Event, frozen=True, kw_only=True):
    """The monitor's judgement of one check of one model's version over one window of world time.

    Attributes:
        model: The model.
        version: The version.
        check: The subject.
        window: An hour, a day, or "now" for a check without a window.
        window_start: Beginning of the window. For "now" it is the moment of the look.
        severity: Severity of the worst finding. insufficient_data when there was nothing to judge.
        rows: Predictions or labels behind the verdict.
        summary: One line for people.
        findings: Findings, the worst first, at most 20.
        since: World time of the first window of the present trouble. None without trouble.
    """

    stream: ClassVar[Stream] = Stream.VERDICTS

    model: str
    version: str
    check: Check
    window: Literal["hour", "day", "now"]
    window_start: AwareTime
    severity: Severity
    rows: int
    summary: str
    findings: tuple[Finding, ...] = ()
    since: AwareTime | None = None

    @staticmethod
    def id_for(model_version_check_window: str) -> str:
        return f"verdict-{model_version_check_window}"
