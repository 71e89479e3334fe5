"""Labels that take longer: while label delay drifts, the work on every open label slows down.

A label needs a certain time of work, its delay in the undisturbed world. At factor f a world hour
brings it 1/f hours nearer. So a drift does not change what had arrived before it began. Labels
under way at its begin arrive later. At its end the rest of each label takes its usual time.

So each label arrives exactly once, even if the drift starts or stops while the label is pending.
Its arrival before any moment depends only on the drifts before that moment.

While labels stop, some of those that arrive are dropped (`received`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from dojo.shop.drift_kinds import SUDDEN
from dojo.shop.world_drift import ActiveDrift
from services.simulator.town.chance import keys, uniform
from services.simulator.town.intensity import MICROSECOND, Times, levels, microseconds, times_of

# A growing factor is constant within each of this many steps of its ramp. Each is half an hour of a
# one-day ramp. Sums of products are the same on every machine, to the microsecond. Logarithms may
# differ.
RAMP_STEPS = 48

_DAY = timedelta(days=1)
_NEVER = 2**62  # microseconds; the end of a drift that goes on


def arrivals(times: Times, work: Times, drifts: Iterable[ActiveDrift]) -> Times:
    """When the labels of payments arrive, microseconds.

    Args:
        times: Times of the payments, microseconds.
        work: How long their labels take in the undisturbed world, microseconds, >= 0.
    """
    at, left = (
        times.astype(np.int64),
        work.astype(np.int64),
    )  # work is accounted for up to `at`, and `left` remains then
    for start, end, factor in _slow_times(drifts):
        slow = (at + left > start) & (at < end)
        begun = np.maximum(at, start)
        rest = left - (begun - at)  # before `start` it went on as usual
        arrived = begun + np.floor(rest * factor).astype(np.int64)
        beyond = arrived > end
        done = np.floor((end - begun) / factor).astype(np.int64)
        at = np.where(slow, np.where(beyond, end, arrived), at)
        left = np.where(slow, np.where(beyond, np.maximum(rest - done, 0), 0), left)
    return at + left


def received(labels: pl.DataFrame, drifts: Iterable[ActiveDrift], seed: int) -> pl.DataFrame:
    """Return the labels that come at all. Each has its own chance at its time of arrival.

    Args:
        labels: Rows with `request_id` and `arrival`.
    """
    level = levels(tuple(drifts), "label_stop", times_of(labels["arrival"]))
    if not level.any():
        return labels
    chance = uniform(keys(labels["request_id"], seed, "label_stop"))
    return labels.filter(pl.Series(chance >= level))


def _slow_times(drifts: Iterable[ActiveDrift]) -> Iterator[tuple[int, int, float]]:
    """Pieces of time with a factor above 1, in order, not overlapping.

    Each is (start, end, factor), in microseconds.
    """
    for drift in sorted((d for d in drifts if d.kind == "label_delay"), key=lambda d: d.started):
        start, ramp = (
            microseconds(drift.started),
            drift.ramp // MICROSECOND if drift.ramp > SUDDEN else 0,
        )
        end = _NEVER if drift.ended is None else microseconds(drift.ended)
        edges = [start + ramp * step // RAMP_STEPS for step in range(RAMP_STEPS)] if ramp else []
        for step, (low, high) in enumerate(
            zip(edges, [*edges[1:], start + ramp], strict=True) if ramp else ()
        ):
            if low < min(high, end):
                yield low, min(high, end), 1 + (drift.strength - 1) * (step + 0.5) / RAMP_STEPS
        if start + ramp < end:
            yield start + ramp, end, drift.strength


def look_back(day_start: datetime, maximum: timedelta, drifts: Iterable[ActiveDrift]) -> int:
    """How many days back a payment may lie whose label arrives on a given day or later.

    Args:
        day_start: Start of that day.
        maximum: Longest delay of the undisturbed world.
    """
    drifts = tuple(drifts)
    slowest = max((drift.strength for drift in drifts if drift.kind == "label_delay"), default=1.0)
    back = np.arange(math.ceil(maximum * slowest / _DAY) + 1)
    last_payments = microseconds(day_start) - (back - 1) * (_DAY // MICROSECOND) - 1
    latest = arrivals(last_payments, np.full(len(back), maximum // MICROSECOND), drifts)
    return int(back[latest >= microseconds(day_start)].max())
