"""Chooses the row to compare with a served value, and decides when two values are equal. Pure.

skew.py explains the rules.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from feature_repo import catalog

# Float32 holds seven digits, and sums of cents as euros hold a few less. The absolute part is for
# differences near zero (z-scores).
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-4

# The streamer's row has its event's time, and the lake's row a microsecond more. An age in the log
# loses some precision. Within this time they are the same row.
SAME_ROW = timedelta(milliseconds=1)

# How long a newer row may have been visible to training while serving still had an older one. It is
# the SLA minus the normal life of a row. Beyond it the row is stale.
ALLOWED_LATENESS = {
    view.name: view.freshness_sla - (timedelta(days=1) if view.kind == "batch" else timedelta(0))
    for view in catalog.VIEWS.values()
}


class Timeline:
    """The rows of one view by entity key, in order of the time at which they became visible."""

    def __init__(self, rows: pl.DataFrame, key: str, features: Sequence[str]) -> None:
        self._rows: dict[str, tuple[list[datetime], list[dict[str, float]]]] = {}
        for (entity,), part in rows.sort("event_timestamp").partition_by(key, as_dict=True).items():
            self._rows[str(entity)] = (
                part["event_timestamp"].to_list(),
                part.select(features).to_dicts(),
            )

    def rows(self, key: str) -> tuple[list[datetime], list[dict[str, float]]]:
        return self._rows.get(key, ([], []))


def row_to_compare(
    visible: Sequence[datetime],
    happened: datetime,
    asked: datetime,
    served: datetime | None,
    allowed: timedelta,
    batch: bool,
) -> tuple[int | None, timedelta | None]:
    """Choose the row to compare with served values.

    Args:
        visible: Time from which each row could be seen, ascending.
        happened: The event's time, for which training asks.
        asked: When serving looked.
        served: Time of the row that serving got. None without one. Then a first row is late within
            `allowed`, and missing beyond it.
        allowed: Allowed lateness of the view.
        batch: True for a batch view. Its rows hold nothing of their own day. So a row published
            between `happened` and `asked` is no look into the future.

    Returns:
        The row's number, None for no row (all values 0). Then the time for which serving had missed
        a newer row, None if it had the newest.
    """
    newest = bisect_right(visible, happened) - 1
    expected = newest if newest >= 0 else None
    if served is None:
        missed = asked - visible[0] if newest >= 0 else timedelta(0)
        return (None, missed) if newest >= 0 and missed <= allowed else (expected, None)
    got = bisect_right(visible, served + SAME_ROW) - 1
    if got < 0 or abs(visible[got] - served) > SAME_ROW:  # a row that never was, or of long ago
        return expected, None
    if got > newest:
        answered_late = batch and visible[got] <= asked and asked - happened <= allowed
        return (got, timedelta(0)) if answered_late else (expected, None)
    return got, asked - visible[got + 1] if got < newest else None


def agrees(served: float, offline: float | None) -> bool:
    """Return whether two values of a feature are equal.

    A feature unknown offline agrees with no value.
    """
    return offline is not None and abs(
        served - offline
    ) <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * abs(offline)
