"""Messages of the event log as events that can be counted, and the rest, each with its reason. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TypeVar, cast

import msgspec
import numpy as np

from dojo.core.events.log import Delivery
from dojo.core.events.types import (
    Event,
    MalformedEventError,
    Outcome,
    Prediction,
    Stream,
    decode,
)

E = TypeVar("E", bound=Event)


class Rejection(msgspec.Struct, frozen=True):
    """A message that was set aside. payload: as text; bytes that are none become U+FFFD."""

    stream: str
    message_id: str
    reason: str
    payload: str


def parse_predictions(
    deliveries: Sequence[Delivery], models: Collection[str], latest: datetime | None
) -> tuple[list[Prediction], list[Rejection]]:
    """Split messages into predictions of known models and the rest. Keeps their order.

    Args:
        latest: world time that nothing can have happened after; None when the world has no time yet.
    """
    events, rejections = _parse(Stream.PREDICTIONS, deliveries, latest)
    good = []
    for delivery, event in events:
        prediction = cast("Prediction", event)
        if prediction.model not in models:
            rejections.append(_rejection(Stream.PREDICTIONS, delivery, f"no spec for model {prediction.model!r}"))
        elif not np.isfinite(prediction.score) or not 0 <= prediction.score <= 1:
            rejections.append(_rejection(Stream.PREDICTIONS, delivery, f"score {prediction.score!r} is no probability"))
        else:
            good.append(prediction)
    return good, rejections


def parse_outcomes(
    deliveries: Sequence[Delivery], models: Collection[str], latest: datetime | None
) -> tuple[list[Outcome], list[Rejection]]:
    """Split messages into outcomes of known models and the rest. Arguments as for `parse_predictions`."""
    events, rejections = _parse(Stream.OUTCOMES, deliveries, latest)
    good = []
    for delivery, event in events:
        outcome = cast("Outcome", event)
        if outcome.model not in models:
            rejections.append(_rejection(Stream.OUTCOMES, delivery, f"no spec for model {outcome.model!r}"))
        else:
            good.append(outcome)
    return good, rejections


def _parse(
    stream: Stream, deliveries: Sequence[Delivery], latest: datetime | None
) -> tuple[list[tuple[Delivery, Event]], list[Rejection]]:
    events, rejections = [], []
    for delivery in deliveries:
        try:
            event = decode(stream, delivery.payload)
        except MalformedEventError as error:
            rejections.append(_rejection(stream, delivery, str(error)))
            continue
        if latest is not None and event.world_time > latest:
            # One such event would open a window that no world time ever closes.
            rejections.append(_rejection(stream, delivery, f"world_time {event.world_time.isoformat()} lies in the future"))
        else:
            events.append((delivery, event))
    return events, rejections


def _rejection(stream: Stream, delivery: Delivery, reason: str) -> Rejection:
    return Rejection(str(stream), delivery.message_id, reason, delivery.payload[:MAXIMUM_COPY].decode(errors="replace"))


# Of a message that is set aside, bytes: a whole prediction event is 3 kB, and what is longer is not read by people.
MAXIMUM_COPY = 16_384
