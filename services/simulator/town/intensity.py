"""How strongly a drift acts at each of many moments.

It is `ActiveDrift.intensity` for a column of times.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.shop.drift_kinds import SUDDEN, Kind
from dojo.shop.world_drift import ActiveDrift

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]  # microseconds since 1970 UTC, the resolution of world time

MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def microseconds(at: datetime) -> int:
    """A timezone-aware moment as an exact number of `Times`."""
    return (at - _EPOCH) // MICROSECOND


def moment(time: int) -> datetime:
    """One of `Times` as a moment, UTC."""
    return _EPOCH + int(time) * MICROSECOND


def times_of(column: pl.Series) -> Times:
    """A column of UTC_MICROSECONDS as numbers."""
    return column.to_physical().to_numpy().astype(np.int64)


def intensities(drift: ActiveDrift, times: Times) -> Floats:
    """The drift's intensity, 0 to 1, at each time."""
    elapsed = times - microseconds(drift.started)
    grown = (
        np.ones(len(times))
        if drift.ramp <= SUDDEN
        else np.minimum(elapsed / (drift.ramp // MICROSECOND), 1.0)
    )
    acts = elapsed >= 0
    if drift.ended is not None:
        acts &= times < microseconds(drift.ended)
    return np.where(acts, grown, 0.0)


def levels(drifts: Iterable[ActiveDrift], kind: Kind, times: Times) -> Floats:
    """Strength times intensity of a kind at each time, in the kind's unit.

    A kind is active once at a time, so its drifts add up.
    """
    level = np.zeros(len(times))
    for drift in drifts:
        if drift.kind == kind:
            level += drift.strength * intensities(drift, times)
    return level
