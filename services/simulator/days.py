"""A world's days: the transactions that happen on a day and the outcomes that become known on it. Pure, cached."""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta

import polars as pl

from dojo.specs import LabelDelay
from services.simulator.labels import label_delays
from services.simulator.source import Source

_DAY = timedelta(days=1)


class WorldDays:
    """Days of a source with the label delays of a model.

    Args:
        first: the world's first day; what a source holds before it never happened.
    """

    def __init__(self, source: Source, delay: LabelDelay, seed: int, first: date) -> None:
        self._source = source
        self._delay = delay
        self._seed = seed
        self._first = first
        self._reach = math.ceil(delay.maximum / _DAY)  # days that a label may come after its transaction's day
        self._cache: OrderedDict[date, pl.DataFrame] = OrderedDict()

    def transactions(self, day: date) -> pl.DataFrame:
        """The day's transactions in order of time, and `arrival`: when each one's label becomes known."""
        if day not in self._cache:
            self._cache[day] = self._load(day)
            if len(self._cache) > self._reach + 2:  # what outcomes() of one day needs, and the next day
                self._cache.popitem(last=False)
        return self._cache[day]

    def outcomes(self, day: date) -> pl.DataFrame:
        """Labels that become known on `day`: transaction_id, time (of the transaction), label, arrival; in order of arrival."""
        start = start_of(day)
        earlier = [self.transactions(day - _DAY * back) for back in range(self._reach, -1, -1)]
        due = [f.filter(pl.col("arrival") >= start, pl.col("arrival") < start + _DAY) for f in earlier]
        return pl.concat(due).select("transaction_id", "time", "label", "arrival").sort("arrival", "transaction_id")

    def _load(self, day: date) -> pl.DataFrame:
        rows = self._source.day(day) if day >= self._first else self._source.day(day).clear()
        delays = label_delays(rows["transaction_id"], self._delay, self._seed)
        return rows.with_columns((pl.col("time") + delays).alias("arrival"))


def start_of(day: date) -> datetime:
    """Midnight at the beginning of a day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
