"""A world's days: what happens on a day, and the outcomes that become known on it.

Pure, and cached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta

import polars as pl

from dojo.core.lake import start_of
from dojo.core.spec.schema import Label
from dojo.shop.drift_kinds import KINDS
from dojo.shop.events import ORDERS, SHOP_EVENTS, TRANSACTIONS
from dojo.shop.lists import weight
from dojo.shop.truths import TRUTHS, truth
from dojo.shop.world_drift import ActiveDrift
from services.simulator.drift.drifted_days import FraudsterSource, drifted_day, drifted_orders
from services.simulator.drift.label_drift import arrivals, look_back, received
from services.simulator.labels import label_delays
from services.simulator.sources.source import Source
from services.simulator.town.intensity import times_of

_DAY = timedelta(days=1)
_ONE = pl.lit(1.0).alias("weight")

# Columns that decide what an event's label is at another position or price.
SHOWN: Mapping[str, type[pl.DataType]] = {
    "list_id": pl.String,
    "price": pl.Float64,
    "position": pl.Int8,  # in the shop's own order
    "seen_until": pl.Int8,
    "grade": pl.Int8,
    "happens": pl.Boolean,
    "cost": pl.Float64,
}


class WorldDays:
    """Days of a source, and when each model learns the truth about them.

    Payments always happen. Other streams happen where a model's labels are about them.

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
        self.streams = tuple(dict.fromkeys([TRANSACTIONS, *(one.event for one in labels.values())]))
        self._cache: dict[str, OrderedDict[date, pl.DataFrame]] = {
            stream: OrderedDict() for stream in self.streams
        }
        # Stream -> days: what outcomes() of one day needs, and the next day.
        self._kept = dict.fromkeys(self.streams, 2)

    def can(self, drift: ActiveDrift) -> bool:
        """Whether this world can have such a drift.

        Recorded payments are repeated, so the method of their fraudsters cannot change.
        """
        steerable = isinstance(self._source, FraudsterSource)
        return steerable or not KINDS[drift.kind].synthetic_only

    def drift(self, drifts: Iterable[ActiveDrift]) -> bool:
        """Go on under other drifts than before. Returns whether they differ.

        Days before a changed bound stay as they were.
        """
        if (drifts := tuple(drifts)) == self._drifts:
            return False
        self._drifts = drifts
        for cache in self._cache.values():
            cache.clear()
        return True

    def events(self, stream: str, day: date) -> pl.DataFrame:
        """The day's events of one of `streams` as chance decides them, in order of time.

        For each model with labels about them, `arrival_column` says when these become known.
        """
        rows = self.possible(stream, day)
        return rows.filter("happens") if "happens" in rows.columns else rows

    def possible(self, stream: str, day: date) -> pl.DataFrame:
        """The day's events, with those of which a model decides which one happens."""
        cache = self._cache[stream]
        if day not in cache:
            cache[day] = self._with_arrivals(stream, day)
            if len(cache) > self._kept[stream]:
                cache.popitem(last=False)
        return cache[day]

    def outcomes(self, day: date) -> pl.DataFrame:
        """Labels that become known on `day`, in order of arrival.

        Columns: model, request_id (the event's key), time (of the event), label, weight, arrival.
        Of events that answers decide, the columns of SHOWN say what else could have been
        (services/simulator/shown.py). `list_id` is null elsewhere. Label and weight are those of
        the shop's own order.
        """
        due = [rows for stream in self.streams for rows in self._due(stream, day)]
        return pl.concat(due).sort("arrival", "request_id", "model")

    def _due(self, stream: str, day: date) -> Iterator[pl.DataFrame]:
        """A stream's labels that become known on `day`, by model."""
        start, labels = start_of(day), self._labels_of(stream)
        if not labels:
            return
        reach = look_back(
            start, max(label.delay.maximum for label in labels.values()), self._drifts
        )
        self._kept[stream] = reach + 2
        rows = pl.concat(self.possible(stream, day - _DAY * back) for back in range(reach, -1, -1))
        for model, label in labels.items():
            # Few labels become known on the same later day. Cut them out first.
            arrival = pl.col(arrival_column(model))
            due = arrival.is_between(start, start + _DAY, closed="left")
            known = (
                rows.lazy()
                .filter(due)
                .select(
                    pl.lit(model).alias("model"),
                    pl.col(SHOP_EVENTS[stream].key).alias("request_id"),
                    "time",
                    truth(label.truth).alias("label"),
                    weight(pl.col("position")).alias("weight")
                    if "position" in rows.columns
                    else _ONE,
                    *(
                        pl.col(name).cast(kind)
                        if name in rows.columns
                        else pl.lit(None, kind).alias(name)
                        for name, kind in SHOWN.items()
                    ),
                    arrival=arrival,
                )
                .collect()
            )
            yield received(known, self._drifts, self._seed)

    def _delays(self, rows: pl.DataFrame, ids: pl.Series, label: Label) -> pl.Series:
        """How long after its event each label is known, at most the spec's maximum."""
        column = TRUTHS[label.truth].known_after
        if column is None:
            return label_delays(ids, label.delay, self._seed)
        known = (rows[column] * 86_400e6).cast(pl.Int64).cast(pl.Duration("us"))
        return known.clip(upper_bound=label.delay.maximum)

    def _labels_of(self, stream: str) -> dict[str, Label]:
        return {model: label for model, label in self._labels.items() if label.event == stream}

    def _happening(self, stream: str, day: date) -> pl.DataFrame:
        if stream == ORDERS:
            orders = self._source.scenes[stream].day(day, self._source.day(day))
            return drifted_orders(orders, self._drifts, self._seed)
        if stream != TRANSACTIONS:
            return self._source.scenes[stream].day(day, self._source.day(day))
        return drifted_day(self._source, day, self._drifts, self._seed)

    def _with_arrivals(self, stream: str, day: date) -> pl.DataFrame:
        if day < self._first:
            return self.events(stream, self._first).clear()
        labels, rows = self._labels_of(stream), self._happening(stream, day)
        times = times_of(rows["time"])
        ids = rows[SHOP_EVENTS[stream].key]
        work = {m: self._delays(rows, ids, label).to_physical() for m, label in labels.items()}
        return rows.with_columns(
            pl.Series(arrival_column(m), arrivals(times, took.to_numpy(), self._drifts)).cast(
                rows.schema["time"]
            )
            for m, took in work.items()
        )


def arrival_column(model: str) -> str:
    """The column of `WorldDays.events` that says when a model's labels become known."""
    return f"arrival_{model}"
