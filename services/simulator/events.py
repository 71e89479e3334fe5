"""A day's rows as events: structs for the streams, frames for the lake.

The same fact has the same id in both.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import polars as pl

from dojo.core.events.types import Event, Outcome
from dojo.shop.events import SHOP_EVENTS

_SHARED = {field.name for field in msgspec.structs.fields(Event)}

# Stream -> the columns of its events that other streams do not have, the key first.
_OWN: dict[str, list[str]] = {
    stream: [field.name for field in msgspec.structs.fields(event) if field.name not in _SHARED]
    for stream, event in SHOP_EVENTS.items()
}


def events_of(stream: str, rows: pl.DataFrame, wall_time: datetime) -> list[Event]:
    """Rows of WorldDays.events as events."""
    event, own = SHOP_EVENTS[stream], _OWN[stream]
    return [
        event(
            event_id=event.id_for(values[own.index(event.key)]),
            world_time=time,
            wall_time=wall_time,
            **dict(zip(own, values, strict=True)),
        )
        for time, *values in rows.select("time", *own).iter_rows()
    ]


def outcome_events(rows: pl.DataFrame, wall_time: datetime) -> list[Event]:
    """Rows of Decisions.due as events."""
    return [
        Outcome(
            event_id=Outcome.id_for(model, request_id),
            world_time=arrival,
            wall_time=wall_time,
            model=model,
            request_id=request_id,
            request_time=time,
            label=label,
            weight=weight,
        )
        for model, request_id, time, label, arrival, weight in rows.select(
            "model", "request_id", "time", "label", "arrival", "weight"
        ).iter_rows()
    ]


def event_history(stream: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of WorldDays.events for the lake.

    History was not written down as it happened, so its wall time is its world time. This also makes
    a rebuilt file equal to the first one, byte for byte.
    """
    event = SHOP_EVENTS[stream]
    return rows.select(
        (event.id_for("") + pl.col(event.key)).alias("event_id"),
        pl.col("time").alias("world_time"),
        pl.col("time").alias("wall_time"),
        *_OWN[stream],
    )


def outcome_history(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of WorldDays.outcomes for the lake. Wall time as in `event_history`."""
    return rows.filter(pl.col("happens").fill_null(value=True)).select(
        pl.format(Outcome.id_for("{}", "{}"), "model", "request_id").alias("event_id"),
        pl.col("arrival").alias("world_time"),
        pl.col("arrival").alias("wall_time"),
        "model",
        "request_id",
        pl.col("time").alias("request_time"),
        "label",
        pl.lit("").alias("hidden_by"),
        "weight",
    )
