"""What is due: the rows between the cursor and now, in order, a bounded number at a time.

Pure: no clock, no network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from dojo.core.lake import start_of
from dojo.shop.drift_kinds import KINDS
from dojo.shop.world_drift import ActiveDrift
from services.simulator.days import WorldDays

_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)  # the resolution of world time


@dataclass(frozen=True, slots=True)
class DueBatch:
    """Everything that happens from the cursor to before `until`."""

    transactions: pl.DataFrame
    outcomes: pl.DataFrame
    until: datetime


class Feed:
    """Slices a world's days into batches that leave nothing out and overlap nowhere."""

    def __init__(self, days: WorldDays) -> None:
        self._days = days
        self._day: date | None = None
        self._transactions = pl.DataFrame()
        self._outcomes = pl.DataFrame()

    def can(self, drift: ActiveDrift) -> bool:
        """Whether this world can have such a drift.

        Recorded payments are repeated, so the method of their fraudsters cannot change.
        """
        return self._days.steerable or not KINDS[drift.kind].synthetic_only

    def drift(self, drifts: Iterable[ActiveDrift]) -> None:
        """Go on under these drifts. Their bounds are final, so earlier batches stay the same."""
        if self._days.drift(drifts):
            self._day = None

    def due(self, cursor: datetime, now: datetime, limit: int) -> DueBatch:
        """The next batch from `cursor` on, within one day and before `now`.

        It has at most `limit` transactions. It has more only when more happen in one microsecond.
        `until` lies after `cursor` whenever `now` does.
        """
        day = cursor.date()
        if day != self._day:
            self._transactions, self._outcomes, self._day = (
                self._days.transactions(day),
                self._days.outcomes(day),
                day,
            )
        until = min(now, start_of(day) + _DAY)
        times = self._transactions["time"]
        first = times.search_sorted(cursor, "left")
        last = times.search_sorted(until, "left")
        if last - first > limit:
            until = times[first + limit]
            last = times.search_sorted(until, "left")
            if last == first:  # more than `limit` in the same microsecond: they cannot be parted
                until += _TICK
                last = times.search_sorted(until, "left")
        arrivals = self._outcomes["arrival"]
        known = slice(arrivals.search_sorted(cursor, "left"), arrivals.search_sorted(until, "left"))
        return DueBatch(self._transactions[first:last], self._outcomes[known], until)
