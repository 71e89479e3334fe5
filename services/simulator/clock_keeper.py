"""Renews the world's clock while the world is lived, and reports wall time that was not lived.

A simulator that stops, hangs or waits renews nothing, so world time stops within `runs_on`.
What it did not live is skipped: world time goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from dojo.core.spec.durations import format_duration
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import Notice, Notifier

log = structlog.get_logger()

# Renewals within `runs_on`. A renewal that a busy machine delays by one step costs no world time.
RENEWALS = 10

# The team to tell, because a clock belongs to no model.
PLATFORM = "ml-platform"


class ClockKeeper:
    """Keeps one world's clock running.

    Args:
        runs_on: How long world time runs on after a renewal, wall time. Shorter lapses are not
            reported.
        monotonic: Seconds of a clock that is never set.
    """

    def __init__(
        self,
        clock: RedisWorldClock,
        notifier: Notifier,
        runs_on: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runs_on = runs_on
        self._clock, self._notifier, self._monotonic = clock, notifier, monotonic
        self._renewed_at = monotonic()
        self._due = self._renewed_at
        self._untold: list[tuple[Notice, datetime]] = []  # with their world time
        self.told = ""  # the title of the latest notice

    def keep(self, position: datetime) -> None:
        """Renew the clock when it is time to. The world was lived up to `position`.

        Raises:
            ClockNotSetError: The world has no time yet.
            redis.RedisError: Redis is out of reach.
        """
        if self._monotonic() < self._due:
            return
        unlived = self._clock.renew(self.runs_on, position)
        self._renewed_at = self._monotonic()
        self._due = self._renewed_at + self.runs_on.total_seconds() / RENEWALS
        anchor = self._clock.anchor()
        if unlived < -self.runs_on:
            self._untold.append((set_back(-unlived, anchor.wall, anchor.world), anchor.world))
        elif unlived > self.runs_on and anchor.speed:
            self._untold.append((stood_still(unlived, anchor.wall, anchor.world), anchor.world))
        self._tell()

    def stands_still(self) -> bool:
        """Whether world time has stopped because nothing was lived for too long."""
        return self._monotonic() - self._renewed_at > self.runs_on.total_seconds()

    def _tell(self) -> None:
        while self._untold:
            notice, world = self._untold[0]
            self._notifier.tell(PLATFORM, "world", notice, world)
            log.warning("clock", told=notice.title)
            self.told = notice.title
            self._untold.pop(0)


def stood_still(unlived: timedelta, wall: datetime, world: datetime) -> Notice:
    """World time goes on at `world` after it stood still until `wall`."""
    return Notice(
        message_id=f"clock:{wall.isoformat()}:stood-still",
        urgency="info",
        title=f"the world stood still for {in_words(unlived)} of wall time",
        text=(
            f"It goes on at {world:%Y-%m-%d %H:%M} of world time, where it stopped. It skipped"
            " nothing.\nThe stack, the simulator or Redis was stopped, the machine slept, or its"
            " clock was set forward.\nNext: `dojo logs simulator` shows a restart. Without one,"
            " compare the machine's clock with another."
        ),
    )


def set_back(by: timedelta, wall: datetime, world: datetime) -> Notice:
    """The machine's clock now says `wall`, and said more before."""
    return Notice(
        message_id=f"clock:{wall.isoformat()}:set-back",
        urgency="warning",
        title=f"the machine's clock was set back by {in_words(by)}",
        text=(
            f"It says {wall:%Y-%m-%d %H:%M:%S} UTC now. World time went on and was not set back:"
            f" {world:%Y-%m-%d %H:%M}.\nLogs, events and dashboards have {in_words(by)} of wall"
            " time twice.\nNext: `dojo doctor` shows the machine's time. Compare it with another"
            " machine's."
        ),
    )


def in_words(span: timedelta) -> str:
    """Whole seconds, and from ten minutes on whole minutes."""
    seconds = round(span.total_seconds())
    return format_duration(timedelta(seconds=seconds if seconds < 600 else seconds // 60 * 60))
