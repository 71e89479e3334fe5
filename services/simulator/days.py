"""A world's days: the transactions that happen on a day and the outcomes that become known on it.

Pure, and cached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import polars as pl

from dojo.core.lake import start_of
from dojo.core.spec.schema import Label
from dojo.shop.truths import truth
from dojo.shop.world_drift import ActiveDrift
from services.simulator.drift.drifted_days import FraudsterSource, drifted_day
from services.simulator.drift.label_drift import arrivals, look_back
from services.simulator.labels import label_delays
from services.simulator.sources.source import Source
from services.simulator.town.intensity import times_of

_DAY = timedelta(days=1)


class WorldDays:
    """Days of a source, and when each model learns the truth about them.

    Args:
        labels: Model -> what its labels say, and how late they arrive.
        first: The world's first day. A source's earlier days never happened.
        drifts: Drifts of the world, with final bounds (dojo/shop/world_drift.py).
    """

    def __init__(
        self,
        source: Source,
        labels: Mapping[str, Label],
        seed: int,
        first: date,
        drifts: Iterable[ActiveDrift] = (),
    ) -> None:
        self._source = source
        self._labels = labels
        self._seed = seed
        self._first = first
        self._drifts = tuple(drifts)
        self._cache: OrderedDict[date, pl.DataFrame] = OrderedDict()
        self._kept = 2  # days; what outcomes() of one day needs, and the next day

    @property
    def steerable(self) -> bool:
        """Whether the source's fraudsters can change their method on demand."""
        return isinstance(self._source, FraudsterSource)

    def drift(self, drifts: Iterable[ActiveDrift]) -> bool:
        """Go on under other drifts than before. Returns whether they differ.

        Days before a changed bound stay as they were.
        """
        if (drifts := tuple(drifts)) == self._drifts:
            return False
        self._drifts = drifts
        self._cache.clear()
        return True

    def transactions(self, day: date) -> pl.DataFrame:
        """The day's transactions in order of time.

        For each model, `arrival_column` says when their labels become known.
        """
        if day not in self._cache:
            self._cache[day] = self._load(day)
            if len(self._cache) > self._kept:
                self._cache.popitem(last=False)
        return self._cache[day]

    def outcomes(self, day: date) -> pl.DataFrame:
        """Labels that become known on `day`, in order of arrival.

        Columns: model, transaction_id, time (of the transaction), label, arrival.
        """
        start = start_of(day)
        reach = look_back(
            start, max(label.delay.maximum for label in self._labels.values()), self._drifts
        )
        self._kept = reach + 2
        earlier = [self.transactions(day - _DAY * back) for back in range(reach, -1, -1)]
        due = [
            frame.select(
                pl.lit(model).alias("model"),
                "transaction_id",
                "time",
                truth(label.truth).alias("label"),
                arrival=arrival_column(model),
            ).filter(pl.col("arrival") >= start, pl.col("arrival") < start + _DAY)
            for frame in earlier
            for model, label in self._labels.items()
        ]
        return pl.concat(due).sort("arrival", "transaction_id", "model")

    def _load(self, day: date) -> pl.DataFrame:
        if day < self._first:
            return (
                self._source.day(day)
                .clear()
                .with_columns(pl.col("time").alias(arrival_column(m)) for m in self._labels)
            )
        rows = drifted_day(self._source, day, self._drifts, self._seed)
        times = times_of(rows["time"])
        work = {
            m: label_delays(rows["transaction_id"], label.delay, self._seed).to_physical()
            for m, label in self._labels.items()
        }
        return rows.with_columns(
            pl.Series(arrival_column(m), arrivals(times, took.to_numpy(), self._drifts)).cast(
                rows.schema["time"]
            )
            for m, took in work.items()
        )


def arrival_column(model: str) -> str:
    """The column of `WorldDays.transactions` that says when a model's labels become known."""
    return f"arrival_{model}"
