"""What is due: the rows between the cursor and now, in order, a bounded number at a time.

Pure: no clock, no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from dojo.core.lake import start_of
from dojo.shop.world_drift import ActiveDrift
from services.simulator.days import WorldDays
from services.simulator.town.intensity import MICROSECOND, Times, microseconds, moment, times_of

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DueBatch:
    """Everything that happens from the cursor to before `until`. `events`: stream -> its rows."""

    events: Mapping[str, pl.DataFrame]
    outcomes: pl.DataFrame
    until: datetime

    def __bool__(self) -> bool:
        return any(rows.height for rows in (*self.events.values(), self.outcomes))


class Feed:
    """Slices a world's days into batches that leave nothing out and overlap nowhere.

    It searches a day's times fifty times a second, so it keeps them as plain numbers.

    Attributes:
        days: The world's days.
    """

    def __init__(self, days: WorldDays) -> None:
        self.days = days
        self._day: date | None = None
        self._events: dict[str, pl.DataFrame] = {}
        self._outcomes = pl.DataFrame()
        self._times: dict[str, Times] = {}
        self._arrivals: Times = np.empty(0, np.int64)

    @property
    def streams(self) -> tuple[str, ...]:
        return self.days.streams

    def drift(self, drifts: Iterable[ActiveDrift]) -> None:
        """Go on under these drifts. Their bounds are final, so earlier batches stay the same."""
        if self.days.drift(drifts):
            self._day = None

    def due(self, cursor: datetime, now: datetime, limit: int) -> DueBatch:
        """The next batch from `cursor` on, within one day and before `now`.

        It has at most `limit` events. It has more only when more happen in one microsecond. `until`
        lies after `cursor` whenever `now` does.
        """
        self._open(cursor.date())
        until = min(now, start_of(cursor.date()) + _DAY)
        first = {stream: _index(times, cursor) for stream, times in self._times.items()}
        # The times of enough events of each stream to know the batch's first event too many.
        near = np.sort(
            np.concatenate(
                [times[first[stream] :][: limit + 1] for stream, times in self._times.items()]
            )
        )
        if len(near) > limit and near[limit] < microseconds(until):
            until = moment(near[limit])
            if until == moment(near[0]):  # events of the same microsecond cannot be parted
                until += MICROSECOND
        events = {
            stream: rows[first[stream] : _index(self._times[stream], until)]
            for stream, rows in self._events.items()
        }
        known = slice(_index(self._arrivals, cursor), _index(self._arrivals, until))
        return DueBatch(events, self._outcomes[known], until)

    def _open(self, day: date) -> None:
        if day == self._day:
            return
        self._events = {stream: self.days.possible(stream, day) for stream in self.days.streams}
        self._outcomes = self.days.outcomes(day)
        self._times = {stream: times_of(rows["time"]) for stream, rows in self._events.items()}
        self._arrivals = times_of(self._outcomes["arrival"])
        self._day = day


def _index(times: Times, at: datetime) -> int:
    """How many of the sorted times lie before a moment."""
    return int(np.searchsorted(times, microseconds(at)))
