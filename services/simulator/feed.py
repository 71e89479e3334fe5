"""What is due: the rows between the cursor and now, in order, a bounded number at a time.

Pure: no clock, no network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from dojo.core.lake import start_of
from dojo.shop.drift_kinds import KINDS
from dojo.shop.world_drift import ActiveDrift
from services.simulator.days import WorldDays
from services.simulator.town.intensity import MICROSECOND, Times, microseconds, times_of

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DueBatch:
    """Everything that happens from the cursor to before `until`."""

    transactions: pl.DataFrame
    outcomes: pl.DataFrame
    until: datetime


class Feed:
    """Slices a world's days into batches that leave nothing out and overlap nowhere.

    It searches a day's times fifty times a second, so it keeps them as plain numbers.
    """

    def __init__(self, days: WorldDays) -> None:
        self._days = days
        self._day: date | None = None
        self._transactions = pl.DataFrame()
        self._outcomes = pl.DataFrame()
        self._times: Times = np.empty(0, np.int64)
        self._arrivals: Times = np.empty(0, np.int64)

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
            self._transactions, self._outcomes = (
                self._days.transactions(day),
                self._days.outcomes(day),
            )
            self._times = times_of(self._transactions["time"])
            self._arrivals = times_of(self._outcomes["arrival"])
            self._day = day
        until = min(now, start_of(day) + _DAY)
        first, last = _index(self._times, cursor), _index(self._times, until)
        if last - first > limit:
            until = self._transactions["time"][first + limit]
            last = _index(self._times, until)
            if last == first:  # more than `limit` in the same microsecond: they cannot be parted
                until += MICROSECOND
                last = _index(self._times, until)
        known = slice(_index(self._arrivals, cursor), _index(self._arrivals, until))
        return DueBatch(self._transactions[first:last], self._outcomes[known], until)


def _index(times: Times, moment: datetime) -> int:
    """How many of the sorted times lie before a moment."""
    return int(np.searchsorted(times, microseconds(moment)))
