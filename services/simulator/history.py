"""A world's past: written to the lake in bulk, then the clock is set to its end.

    world.json -> lake (every day of history) -> the last 24 h onto the streams
               -> cursor -> clock

The clock comes last, and each step can be repeated without harm. So a build that was killed is
simply run again. A world that is half lost is mended from the source, which knows every day. The
last 24 h come from the lake, because answers decided a part of them:

    clock and cursor there       nothing to do, the world goes on
    lake without history         history is written again. Later records are gone: the streams
                                 have passed them on
    Redis empty, lake there      the world goes on where the lake's records end, not at history's
                                 end: the past stays past. The clock runs at the speed that this
                                 process saw, else at its everyday speed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from dojo.core.events.log import EventLog
from dojo.core.events.types import Stream
from dojo.core.lake import Lake, start_of
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock, wall_now
from dojo.shop.events import SHOP_EVENTS, TRANSACTIONS
from services.simulator.days import WorldDays
from services.simulator.events import event_history, outcome_history
from services.simulator.world import RedisCursor, World

# The file name of history in each partition of the lake (dojo/core/lake.py).
HISTORY_FILE = "history"

# How far the streaming features look back, their longest window.
STREAM_LOOKBACK = timedelta(hours=24)

# Events per append: a megabyte a round trip.
APPEND_BATCH = 1000

# (name of the step, share of the work that is done: 0 to 1)
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """The content of the lake's history. `events`: stream -> number of its events."""

    start: datetime
    end: datetime
    events: Mapping[str, int]
    outcomes: int


@dataclass(frozen=True, slots=True)
class Readiness:
    """A world that can be lived from `position` on.

    Attributes:
        built: The history that had to be written for it. None when it was there.
        notes: What had been lost and how that was mended, for people.
    """

    position: datetime
    built: HistorySummary | None
    notes: tuple[str, ...] = ()


def build_history(
    world: World, days: WorldDays, lake: Lake, progress: Progress | None = None
) -> HistorySummary:
    """Write every day of history to the lake.

    A day has its events, and the outcomes that became known on it.
    """
    tell = progress or (lambda step, share: None)
    events, outcomes = dict.fromkeys(days.streams, 0), 0
    for done, day in enumerate(world.span.days):
        tell(f"history {day}", done / len(world.span.days))
        for stream in days.streams:
            rows = days.events(stream, day)
            lake.write(stream, event_history(stream, rows), HISTORY_FILE)
            events[stream] += rows.height
        known = days.outcomes(day)
        lake.write(Stream.OUTCOMES, outcome_history(known), HISTORY_FILE)
        outcomes += known.height
    tell("history", 1.0)
    return HistorySummary(
        start_of(world.history_start), start_of(world.history_end), events, outcomes
    )


def ensure_world(
    world: World,
    days: WorldDays,
    lake: Lake,
    event_log: EventLog,
    cursor: RedisCursor,
    clock: RedisWorldClock,
    everyday_speed: float,
    progress: Progress | None = None,
) -> Readiness:
    """Bring a world to the point from which it can be lived, with any of its parts missing.

    Args:
        everyday_speed: World seconds per wall second, for a world that has been lived and whose
            clock is lost.

    Raises:
        OtherWorldError: Redis carries another world.
        redis.RedisError: Redis is out of reach. Call again.
    """
    end = start_of(world.history_end)
    position = cursor.load()
    built = None
    notes = []
    if position is None or not any(
        (lake.root / TRANSACTIONS).glob(f"date=*/{HISTORY_FILE}.parquet")
    ):
        if position is not None:
            notes.append(
                "the lake had lost its history: written again; what was recorded after"
                f" {end:%Y-%m-%d} is gone"
            )
        built = build_history(world, days, lake, progress)
    if position is None:
        position = max(end, _lake_end(lake, (*days.streams, Stream.OUTCOMES)) or end)
        if position > end:
            notes.append(
                "Redis had lost the world: it goes on where the lake's records end, at"
                f" {position:%Y-%m-%d %H:%M:%S}"
            )
        append_last_hours(lake, days.streams, position, event_log)
        cursor.save(position)
    if not clock.is_set():
        known = _known(clock)
        now, speed = known or (
            position,
            everyday_speed if position > end else 0,
        )  # a new world waits for a version
        clock.set(max(now, position), speed)
        if known or position > end:
            notes.append(
                f"Redis had lost the clock: it runs on at {speed:g} world seconds a second"
            )
    return Readiness(position, built, tuple(notes))


def _known(clock: RedisWorldClock) -> tuple[datetime, float] | None:
    """World time and speed as this process saw them before Redis lost them."""
    try:
        return clock.now(), clock.speed()
    except ClockNotSetError:
        return None


def _lake_end(lake: Lake, streams: Iterable[str]) -> datetime | None:
    """Up to where the lake's record of the streams is whole.

    It is the earliest of their latest events.
    """
    newest = [lake.newest(stream) for stream in streams]
    return None if None in newest else min(moment for moment in newest if moment)


def append_last_hours(
    lake: Lake, streams: Iterable[str], position: datetime, event_log: EventLog
) -> None:
    """Append the lake's events of STREAM_LOOKBACK before `position`.

    So the streaming features fill the normal way. The recorder knows the events by their ids and
    drops them. They come from the lake, because answers decided a part of them.
    """
    wall = wall_now()
    for stream in streams:
        event = SHOP_EVENTS[stream]
        rows = lake.scan(stream, position - STREAM_LOOKBACK, position).collect()
        rows = rows.unique("event_id").sort("world_time", event.key)
        events = [event(**(row | {"wall_time": wall})) for row in rows.iter_rows(named=True)]
        for first in range(0, len(events), APPEND_BATCH):
            event_log.append(events[first : first + APPEND_BATCH])
