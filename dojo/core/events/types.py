"""The events of the platform: immutable, versioned, self-describing.

`world_time` is when it happened in the world, `wall_time` when a process wrote it down. `event_id` is chosen so that
writing the same fact twice gives the same id; every consumer may therefore drop what it has seen.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

import msgspec

from dojo.core.judging.drift import Finding
from dojo.core.tasks.measured import Severity

# Refused when decoded, so that one wrong producer cannot put an unusable row into the lake.
AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
Identifier = Annotated[str, msgspec.Meta(min_length=1)]
MAX_EURO = 1e12  # beyond it is no payment, and sums of whole cents must fit 64 bits
Euro = Annotated[float, msgspec.Meta(ge=0, le=MAX_EURO)]

# World times outside are a producer's fault: a zero timestamp (1970) would make features of half a century due, and a clock that
# runs centuries ahead would make everything that really happens look old.
EARLIEST, LATEST = datetime(1971, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Stream(StrEnum):
    """The streams of the event log."""

    TRANSACTIONS = "transactions"
    PREDICTIONS = "predictions"
    OUTCOMES = "outcomes"
    SHADOWS = "shadows"
    VERDICTS = "verdicts"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What every event carries. Times are UTC and timezone-aware.

    A reader ignores fields that it does not know: processes are upgraded one after the other, and writers may come first.

    Attributes:
        identity: The fields by which a repetition of the event is known.
    """

    stream: ClassVar[Stream]
    identity: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: Identifier
    world_time: AwareTime
    wall_time: AwareTime
    schema_version: int = 1

    def __post_init__(self) -> None:
        if not EARLIEST <= self.world_time < LATEST:
            raise ValueError(f"world_time {self.world_time} lies outside {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}")


class Transaction(Event, frozen=True, kw_only=True):
    """A card payment was made. `amount` is in the shop's currency unit (euros), >= 0."""

    stream: ClassVar[Stream] = Stream.TRANSACTIONS

    transaction_id: str
    customer_id: str
    merchant_id: str
    amount: Euro

    @staticmethod
    def id_for(transaction_id: str) -> str:
        return f"tx-{transaction_id}"


class Outcome(Event, frozen=True, kw_only=True):
    """What a request turned out to be, for one model. Arrives after that model's label delay.

    A later outcome of the same request corrects it, with the same `event_id` or another one.

    Attributes:
        world_time: When the label became known.
        model: Whose question it answers. One request may have a label for each of several models.
        request_id: Joins it to predictions, and to the event that the request was about.
        request_time: World time of that event.
        label: The truth, in the unit of the model's task: 0 or 1, a value, or a relevance.
    """

    stream: ClassVar[Stream] = Stream.OUTCOMES
    identity: ClassVar[tuple[str, ...]] = ("event_id", "world_time", "label")  # a correction is no repetition

    model: Identifier
    request_id: Identifier
    request_time: AwareTime
    label: float

    @staticmethod
    def id_for(model: str, request_id: str) -> str:
        return f"outcome-{model}-{request_id}"


class Prediction(Event, frozen=True, kw_only=True):
    """One answer of the gateway, with everything needed to explain it later.

    Attributes:
        request_id: the caller's id for the request (the transaction's id), the join key to outcomes.
        entity_keys: entity name -> key, as sent.
        features: feature name -> the exact value that was scored, in the model's input order.
        feature_age_seconds: feature view -> age of its values in world seconds; None where there were none.
        score: The version's number, in the unit of the model's task, or the fallback's.
        flagged: Whether the answer asked for an action. None where the task flags nothing.
        arm: the arm that the route chose for the request; `version`: the one that answered, another one's when the arm failed
            (`degraded` then has "arm_failed"), and "0" when the spec's fallback did because no version could.
        route_generation: of the route that chose; 0 while a model has no route and the registry's champion serves, and after a
            gateway's start until all of the route's versions are there.
        latency_seconds: wall time from the request's arrival until this instance was scored, by whoever scored it: instances of one
            request differ when different arms scored them.
        degraded: reasons, empty when the answer is whole.
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

    @staticmethod
    def id_for(prediction_id: str) -> str:
        return f"prediction-{prediction_id}"


class Shadow(Event, frozen=True, kw_only=True):
    """What a shadow would have answered to a mirrored request, beside what the caller got. Nobody acted on it.

    Attributes:
        prediction_id: of the answer that the caller got.
        version, score, flagged, scoring_seconds: the shadow's; both are None when it failed, and `error` says how.
        champion_*: the same of the version that answered. `scoring_seconds` is wall time of scoring alone, features in hand.
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


# What a verdict is about.
Check = Literal[
    "input_drift",  # features, one by one, against the version's reference profile (PSI)
    "prediction_drift",  # scores against the profile's
    "data_quality",  # values missing or out of range
    "flagged_rate",  # share of flagged payments: a proxy before labels arrive
    "estimated_performance",  # expected PR-AUC from the scores alone: another
    "performance",  # catch rate, false positives and PR-AUC of labelled predictions
    "segments",  # the same by group of customers
    "label_delay",  # how late labels arrive
    "labels_missing",  # share of the labels due on a day that did not arrive
    "skew",  # served feature values against offline ones
    "feature_freshness",  # views against their SLA
    "model_freshness",  # the champion's age
]


class Verdict(Event, frozen=True, kw_only=True):
    """The monitor's judgement of one check of one model's version over one window of world time.

    Attributes:
        window: an hour, a day, or "now" for what has no window. window_start: its beginning; of "now" the moment of the look.
        severity: the worst finding's; insufficient_data when there was nothing to judge.
        since: world time of the first window of the present trouble; None while there is none.
        rows: predictions or labels that it rests on.
        summary: one line for people. findings: the worst first, at most 20.
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


EVENT_TYPES: dict[Stream, type[Event]] = {
    Stream.TRANSACTIONS: Transaction,
    Stream.OUTCOMES: Outcome,
    Stream.PREDICTIONS: Prediction,
    Stream.SHADOWS: Shadow,
    Stream.VERDICTS: Verdict,
}

_encoder = msgspec.json.Encoder()
_decoders = {stream: msgspec.json.Decoder(event_type) for stream, event_type in EVENT_TYPES.items()}


class MalformedEventError(ValueError):
    """Bytes on a stream that are not an event of that stream's type."""


def encode(event: Event) -> bytes:
    """The event as UTF-8 JSON: readable with `redis-cli xrange`, one third of pydantic's cost."""
    return _encoder.encode(event)


def decode(stream: Stream, payload: bytes) -> Event:
    """Inverse of `encode`.

    Raises:
        MalformedEventError: names the field, what was expected and found.
    """
    try:
        return _decoders[stream].decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedEventError(f"{stream}: {error}") from error
