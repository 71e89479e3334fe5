"""Messages of the event log as events that fit the lake. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from dojo.core.events.log import Delivery
from dojo.core.events.types import Event, MalformedEventError, Stream, decode
from dojo.core.lake import utc_date


@dataclass(frozen=True, slots=True)
class Received:
    """An event, the message that carried it, and the day (UTC) whose partition it belongs to."""

    message_id: str
    event: Event
    day: date


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A message that cannot become a row, and why."""

    message_id: str
    reason: str
    payload: bytes


def parse(stream: Stream, deliveries: Sequence[Delivery]) -> tuple[list[Received], list[RejectedRow]]:
    """Split messages into events that are sure to fit the lake, and the rest. Keeps their order."""
    received, rejections = [], []
    for delivery in deliveries:
        try:
            event = decode(stream, delivery.payload)
        except MalformedEventError as error:
            rejections.append(RejectedRow(delivery.message_id, str(error), delivery.payload))
        else:
            received.append(Received(delivery.message_id, event, utc_date(event.world_time)))
    return received, rejections
