"""World time: the only source of "now" for business logic.

Designs speak of hours and days (canary for 4 h, labels after 7 days). Specs keep those real
durations, and the world runs faster than the wall: `speed` world seconds pass per wall second.
Every process derives the same "now" from one stored anchor, so all processes agree. After a
restart, a process continues where the world is, not where the process was.

    world_now = world_anchor + min(wall time since the anchor, runs_on) * speed

Speed 0 is a paused world.

The simulator renews the anchor while it lives. World time stops `runs_on` after the simulator
stops. So a machine that slept for a night does not throw the world forward. No process sees world
time go back, even when the machine's clock changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, cast
from uuid import uuid4

import msgspec
from redis import Redis
from redis.exceptions import RedisError

from dojo.core.state.atomic import Check, ConflictError, write_if

CLOCK_KEY = "dojo:clock"


def wall_now() -> datetime:
    """The machine's time, UTC.

    For latencies, timeouts, log lines and event metadata. Never for business logic.
    """
    return datetime.now(UTC)


class ClockNotSetError(RuntimeError):
    """The world has no time yet. Its history has to be built first."""

    def __init__(self) -> None:
        super().__init__(
            "the world has no time yet: build its history first (dojo data history, or dojo demo)"
        )


class Anchor(msgspec.Struct, frozen=True):
    """One straight piece of world time.

    Attributes:
        world: World time of the anchor, UTC.
        wall: Wall time of the same instant, UTC.
        speed: World seconds per wall second, >= 0, where 0 is paused.
        runs_on: How long world time runs on unless the anchor is renewed, wall seconds. None is
            for ever.
        origin: Names the last `set`. Renewals and changes of speed keep it. World time never goes
            back while it stays the same.
    """

    world: datetime
    wall: datetime
    speed: float
    runs_on: float | None = None
    origin: str = ""

    def world_at(self, wall: datetime) -> datetime:
        return self.world_after(wall - self.wall)

    def world_after(self, elapsed: timedelta) -> datetime:
        """World time when `elapsed` of wall time has passed since the anchor."""
        return self.world + self.lived(elapsed) * self.speed

    def lived(self, elapsed: timedelta) -> timedelta:
        """The part of the wall time since the anchor in which world time runs."""
        if self.runs_on is not None:
            elapsed = min(elapsed, timedelta(seconds=self.runs_on))
        return max(elapsed, timedelta(0))


class WorldClock(Protocol):
    """Tells the world's time (UTC) and its speed (world seconds per wall second)."""

    def now(self) -> datetime: ...

    def speed(self) -> float: ...


@dataclass(frozen=True, slots=True)
class _Sight:
    """An anchor as a process first saw it.

    Attributes:
        age: Wall seconds since the anchor, at that moment.
        at: That moment, monotonic seconds.
    """

    anchor: Anchor
    age: float
    at: float


class Reckoning:
    """World time between looks at the stored anchor, in one process. Threads may share it.

    The wall tells an anchor's age at its first sight only. From there a monotonic clock counts.
    It ignores a change of the machine's time.
    On Linux and macOS it stands still while the machine sleeps.

    Args:
        remembered: An anchor that an earlier process saw.
        wall: The machine's time.
        monotonic: Seconds of a clock that is never set.
    """

    def __init__(
        self,
        remembered: Anchor | None = None,
        wall: Callable[[], datetime] = wall_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wall, self._monotonic = wall, monotonic
        self._sight = None if remembered is None else self._first_sight(remembered, math.inf)
        self._looked = -math.inf  # monotonic seconds of the latest look at what is stored
        self._latest: datetime | None = None  # the latest time told within the anchor's origin

    @property
    def anchor(self) -> Anchor | None:
        return None if self._sight is None else self._sight.anchor

    def see(self, anchor: Anchor) -> None:
        """Go on from the stored anchor. A known anchor changes nothing."""
        before, looked = self.anchor, self._looked
        self._looked = self._monotonic()
        if anchor == before:
            return
        # An anchor that was not stored at the look before is no older than that look.
        self._sight = self._first_sight(anchor, self._looked - looked)
        if before is None or before.origin != anchor.origin:
            self._latest = None

    def now(self) -> datetime:
        """Raises ClockNotSetError: no anchor was ever seen."""
        sight, latest = self._known(), self._latest
        now = sight.anchor.world_after(self._elapsed(sight))
        self._latest = now if latest is None else max(now, latest)
        return self._latest

    def renewed(self) -> Anchor:
        """The anchor of this moment. Raises ClockNotSetError."""
        sight = self._known()
        world = sight.anchor.world_after(self._elapsed(sight))
        return msgspec.structs.replace(sight.anchor, world=world, wall=self.wall())

    def unlived(self, wall: datetime) -> timedelta:
        """How much more the wall has moved than the world has lived, since the anchor.

        Negative: the machine's clock was set back by so much. Raises ClockNotSetError.
        """
        sight = self._known()
        return wall - sight.anchor.wall - sight.anchor.lived(self._elapsed(sight))

    def _first_sight(self, anchor: Anchor, oldest: float) -> _Sight:
        """An anchor that is new here, and at most `oldest` seconds old."""
        age = max((self.wall() - anchor.wall).total_seconds(), 0.0)
        return _Sight(anchor, min(age, oldest), self._monotonic())

    def _known(self) -> _Sight:
        if self._sight is None:
            raise ClockNotSetError
        return self._sight

    def _elapsed(self, sight: _Sight) -> timedelta:
        return timedelta(seconds=sight.age + self._monotonic() - sight.at)


class RedisWorldClock:
    """The running stack's clock: an anchor in Redis, cached for `refresh` of wall time.

    A reader that loses Redis keeps the last anchor it saw. So world time goes on through a short
    outage, for `runs_on`. Give it a client with short timeouts: then a hanging Redis costs one late
    answer per `refresh`.

    Raises:
        ClockNotSetError: Raised by `now` and `speed` when no anchor was ever seen.
    """

    def __init__(
        self,
        redis: Redis,
        refresh: timedelta = timedelta(seconds=1),
        reckoning: Reckoning | None = None,
    ) -> None:
        self._redis = redis
        self._refresh = refresh  # a changed speed is seen by every process within this time
        self._reckoning = reckoning or Reckoning()
        self._read_at = -math.inf  # seconds of the monotonic clock: the wall clock may be set back

    def now(self) -> datetime:
        self.anchor()
        return self._reckoning.now()

    def speed(self) -> float:
        return self.anchor().speed

    def is_set(self) -> bool:
        """Whether the world has a time. Asks Redis, so that a purge is seen."""
        return bool(self._redis.exists(CLOCK_KEY))

    def anchor(self) -> Anchor:
        if (
            self._reckoning.anchor is None
            or time.monotonic() - self._read_at > self._refresh.total_seconds()
        ):
            with suppress(RedisError):  # keep the anchor we have
                self._read()
            self._read_at = (
                time.monotonic()
            )  # after the answer: a timeout may last longer than `refresh`
        if self._reckoning.anchor is None:
            raise ClockNotSetError
        return self._reckoning.anchor

    def standstill(self) -> timedelta:
        """For how long the anchor's renewal is overdue, wall time.

        Zero while world time runs, or is paused.

        Raises:
            ClockNotSetError: The world has no time yet.
        """
        anchor, wall = self.anchor(), self._reckoning.wall()
        if anchor.speed == 0 or anchor.runs_on is None:
            return timedelta(0)
        return max(abs(wall - anchor.wall) - timedelta(seconds=anchor.runs_on), timedelta(0))

    def set(self, world: datetime, speed: float, runs_on: timedelta | None = None) -> Anchor:
        """Put the world at `world` (timezone-aware) and let it run at `speed` from this moment on.

        Args:
            runs_on: How long it runs without a renewal, wall time. None is for ever, for a world
                without a simulator.
        """
        if world.tzinfo is None:
            raise ValueError(f"world time must be timezone-aware, got {world.isoformat()}")
        seconds = None if runs_on is None else runs_on.total_seconds()
        anchor = Anchor(world.astimezone(UTC), self._reckoning.wall(), speed, seconds, uuid4().hex)
        return self._write(anchor, [])

    def set_speed(self, speed: float) -> Anchor:
        """Change how fast the world runs, without a jump in its time. 0 pauses it."""
        while True:
            stored = self._read()
            if stored is None:
                raise ClockNotSetError
            with suppress(ConflictError):
                return self._write(
                    msgspec.structs.replace(self._reckoning.renewed(), speed=speed),
                    [(("GET", CLOCK_KEY), stored)],
                )

    def renew(self, runs_on: timedelta, at_least: datetime) -> timedelta:
        """Let the world's time run on for `runs_on` from this moment. Only the simulator does so.

        An anchor that Redis has lost is written again.

        Args:
            at_least: Latest world time that was lived. World time does not go back behind it.

        Returns:
            The wall time since the last anchor that the world did not live. A negative value
            tells by how much the machine's clock was set back.

        Raises:
            ClockNotSetError: No anchor was ever seen.
            redis.RedisError: Redis is out of reach.
        """
        while True:
            stored = self._read()
            anchor = self._reckoning.renewed()
            unlived = self._reckoning.unlived(anchor.wall)
            world = max(anchor.world, at_least) if anchor.speed else anchor.world
            anchor = msgspec.structs.replace(anchor, world=world, runs_on=runs_on.total_seconds())
            with suppress(ConflictError):
                self._write(anchor, [(("GET", CLOCK_KEY), stored or b"")])
                return unlived

    def _read(self) -> bytes | None:
        """Read the stored anchor. From now on it counts."""
        stored = cast("bytes | None", self._redis.get(CLOCK_KEY))
        if stored is not None:
            self._reckoning.see(msgspec.json.decode(stored, type=Anchor))
        return stored

    def _write(self, anchor: Anchor, checks: Sequence[Check]) -> Anchor:
        if not 0 <= anchor.speed < math.inf:
            raise ValueError(
                f"speed must be a number >= 0 of world seconds per wall second, got {anchor.speed}"
            )
        if (
            write_if(self._redis, checks, [("SET", CLOCK_KEY, msgspec.json.encode(anchor))])
            is not None
        ):
            raise ConflictError("the clock was set meanwhile")
        self._reckoning.see(anchor)
        self._read_at = time.monotonic()
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
