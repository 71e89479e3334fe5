"""The past of models that join a world that exists, written to the lake.

The world is a pure function of the day, so this is the past that would have been. It has no answers
of these models. Lists are in the shop's own order, and chance takes the prices, as in history.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta

import polars as pl

from dojo.core.events.log import EventLog
from dojo.core.events.types import Stream
from dojo.core.lake import Lake, start_of
from dojo.shop.decisions import STOPPED
from dojo.shop.events import DECISIONS, ORDERS
from services.simulator.days import WorldDays
from services.simulator.events import event_history, outcome_history
from services.simulator.history import Progress, append_last_hours
from services.simulator.town.orders import order_of

# Beginning of the name of the files in the lake.
FILE_PREFIX = "joined-"


def join(
    days: WorldDays,
    lake: Lake,
    event_log: EventLog,
    models: Collection[str],
    streams: Collection[str],
    first: date,
    now: datetime,
    progress: Progress | None = None,
) -> None:
    """Write what the lake lacks of the models' past. It may be repeated.

    Args:
        days: The world with these models, under all drifts so far.
        lake: The home's lake.
        event_log: Gets the last hours of the new streams, so that streaming features fill.
        models: The joining models.
        streams: The streams that the world had not before them.
        first: First day of history.
        now: The present, world time.

    Raises:
        redis.RedisError: The log is out of reach. Call again.
    """
    tell = progress or (lambda step, share: None)
    # Of the models too, because others may join before time goes on.
    name = f"{FILE_PREFIX}{now:%Y%m%dT%H%M%S}-{'-'.join(sorted(models))}"
    hidden, prevented = _stopped(lake)
    count = (now.date() - first).days + 1
    for number in range(count):
        day = first + timedelta(days=number)
        tell(f"past of {', '.join(sorted(models))}: {day}", number / count)
        for stream in streams:
            rows = days.events(stream, day).filter(pl.col("time") < now)
            if stream == ORDERS:
                rows = rows.filter(~pl.col("order_id").is_in(prevented))
            _add(lake, stream, day, event_history(stream, rows), name)
        known = days.outcomes(day).filter(
            pl.col("model").is_in(list(models)),
            pl.col("arrival") < now,
            ~pl.col("request_id").is_in([*hidden, *prevented]),
        )
        _add(lake, Stream.OUTCOMES, day, outcome_history(known), name)
    append_last_hours(lake, streams, now, event_log)


def _add(lake: Lake, stream: str, day: date, rows: pl.DataFrame, name: str) -> None:
    """Write those of a day's rows that the lake lacks."""
    there = lake.scan(stream, start_of(day), start_of(day) + timedelta(days=1))
    missing = rows.join(there.select("event_id").collect(), on="event_id", how="anti")
    if missing.height:
        lake.write(stream, missing, name)


def _stopped(lake: Lake) -> tuple[list[str], list[str]]:
    """Return the events whose labels decisions hide, and the orders that never were."""
    hides = pl.col("action").is_in([*STOPPED, "approved"])
    made = lake.scan(DECISIONS).filter(hides).select("request_id", "action").collect()
    stopped = made.filter(pl.col("action").is_in(list(STOPPED)))["request_id"]
    return made["request_id"].to_list(), [order_of(name) for name in stopped]
