"""World time: the only source of "now" for business logic.

Designs speak of hours and days (canary for 4 h, labels after 7 days). Specs keep those real durations and the
world runs faster than the wall: `speed` world seconds pass per wall second. Every process derives the same "now"
from one stored anchor, so they agree with each other and a restart continues where the world is, not where the
process was.

    world_now = world_anchor + (wall_now - wall_anchor) * speed        speed 0 is a paused world
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol, cast

import msgspec
from redis import Redis
from redis.exceptions import RedisError

from dojo.core.state.atomic import Check, ConflictError, write_if

CLOCK_KEY = "dojo:clock"


def wall_now() -> datetime:
    """The machine's time, UTC. For latencies, timeouts, log lines and event metadata; never for business logic."""
    return datetime.now(UTC)


class ClockNotSetError(RuntimeError):
    """The world has no time yet: nobody has built its history."""

    def __init__(self) -> None:
        super().__init__("the world has no time yet: build its history first (dojo data history, or dojo demo)")


class Anchor(msgspec.Struct, frozen=True):
    """One straight piece of world time.

    Attributes:
        world, wall: the same instant on both clocks, UTC.
        speed: world seconds per wall second, >= 0; 0 is paused.
    """

    world: datetime
    wall: datetime
    speed: float

    def world_at(self, wall: datetime) -> datetime:
        return self.world + (wall - self.wall) * self.speed


class WorldClock(Protocol):
    """Tells the world's time (UTC) and how fast it runs (world seconds per wall second)."""

    def now(self) -> datetime: ...

    def speed(self) -> float: ...


class RedisWorldClock:
    """The running stack's clock: an anchor in Redis, cached for `refresh` of wall time.

    A reader that loses Redis keeps the last anchor it saw: world time goes on through an outage. Give it a client with
    short timeouts; a hanging Redis is then one late answer per `refresh`.

    Raises:
        ClockNotSetError: from `now` and `speed`, when no anchor was ever seen.
    """

    def __init__(self, redis: Redis, refresh: timedelta = timedelta(seconds=1)) -> None:
        self._redis = redis
        self._refresh = refresh  # a changed speed is seen by every process within this time
        self._anchor: Anchor | None = None
        self._read_at = -math.inf  # seconds of the monotonic clock: the wall clock may be set back

    def now(self) -> datetime:
        return self.anchor().world_at(wall_now())

    def speed(self) -> float:
        return self.anchor().speed

    def is_set(self) -> bool:
        """Whether the world has a time; asks Redis, so that a purge is seen."""
        return bool(self._redis.exists(CLOCK_KEY))

    def anchor(self) -> Anchor:
        if self._anchor is None or time.monotonic() - self._read_at > self._refresh.total_seconds():
            try:
                stored = self._redis.get(CLOCK_KEY)
            except RedisError:
                stored = None  # keep the anchor we have
            self._read_at = time.monotonic()  # after the answer: a timeout may last longer than `refresh`
            if stored is not None:
                self._anchor = msgspec.json.decode(stored, type=Anchor)  # type: ignore[arg-type]
        if self._anchor is None:
            raise ClockNotSetError
        return self._anchor

    def set(self, world: datetime, speed: float) -> Anchor:
        """Put the world at `world` (timezone-aware) and let it run at `speed` from this moment on."""
        return self._write(world, speed, [])

    def set_speed(self, speed: float) -> Anchor:
        """Change how fast the world runs, without a jump in its time. 0 pauses it."""
        while True:
            stored = cast("bytes | None", self._redis.get(CLOCK_KEY))
            if stored is None:
                raise ClockNotSetError
            now = msgspec.json.decode(stored, type=Anchor).world_at(wall_now())
            with suppress(ConflictError):
                return self._write(now, speed, [(("GET", CLOCK_KEY), stored)])

    def _write(self, world: datetime, speed: float, checks: Sequence[Check]) -> Anchor:
        if world.tzinfo is None:
            raise ValueError(f"world time must be timezone-aware, got {world.isoformat()}")
        if not 0 <= speed < math.inf:
            raise ValueError(f"speed must be a number >= 0 of world seconds per wall second, got {speed}")
        anchor = Anchor(world.astimezone(UTC), wall_now(), speed)
        if write_if(self._redis, checks, [("SET", CLOCK_KEY, msgspec.json.encode(anchor))]) is not None:
            raise ConflictError("the clock was set meanwhile")
        self._anchor, self._read_at = anchor, time.monotonic()
        return anchor


class ManualClock:
    """A clock that only tests move."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def speed(self) -> float:
        return 1.0

    def advance(self, by: timedelta) -> datetime:
        if by < timedelta(0):
            raise ValueError("world time never runs backwards")
        self._now += by
        return self._now
