"""Messages of the event log as events, and events as rows of the lake. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from dojo.core.events.log import Delivery
from dojo.core.events.types import Event, MalformedEventError, Stream, decode
from dojo.core.lake import SCHEMAS, utc_date

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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


def frame_of(stream: Stream, events: Sequence[Event]) -> pl.DataFrame:
    """One row per event, columns and types as in `dojo.core.lake.SCHEMAS`."""
    converters = _CONVERTERS.get(stream, {})
    return pl.DataFrame([_column(name, dtype, events, converters) for name, dtype in SCHEMAS[stream].items()])


def _column(name: str, dtype: Any, events: Sequence[Event], converters: Mapping[str, Callable[[Any], Any]]) -> pl.Series:
    if isinstance(dtype, pl.Datetime):
        # As integers: Polars refuses a column whose values have different UTC offsets.
        moments = (getattr(event, name) for event in events)
        microseconds = [None if moment is None else (moment - _EPOCH) // _MICROSECOND for moment in moments]
        return pl.Series(name, microseconds, dtype=pl.Int64).cast(dtype)
    convert = converters.get(name)
    values = [convert(event) for event in events] if convert else [getattr(event, name) for event in events]
    return pl.Series(name, values, dtype=dtype, strict=True)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


# Where a column is not simply the event's field of the same name.
_CONVERTERS: dict[Stream, dict[str, Callable[[Any], Any]]] = {
    Stream.PREDICTIONS: {
        "entity_keys": lambda event: _json(event.entity_keys),
        "feature_names": lambda event: list(event.features),
        "features": lambda event: list(event.features.values()),
        "feature_age_seconds": lambda event: _json(event.feature_age_seconds),
        "degraded": lambda event: list(event.degraded),
    },
    Stream.VERDICTS: {"findings": lambda event: _json(event.findings)},
}
