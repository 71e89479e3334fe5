"""Which of an entity's rows a served value is held against, and when two values are the same one (skew.py says what that means). Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from feature_repo import catalog

# Float32 holds seven digits; sums of cents as euros a few less. The absolute part is for differences near zero (z-scores).
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-4

# The streamer's row has its event's time, the lake's a microsecond more, and an age in the log loses some: the same row.
SAME_ROW = timedelta(milliseconds=1)

# How long a newer row may have been visible to training while serving still had an older one: the SLA less what a row's life is. Later is stale.
ALLOWED_LATENESS = {
    view.name: view.freshness_sla - (timedelta(days=1) if view.kind == "batch" else timedelta(0))
    for view in catalog.VIEWS.values()
}


class Timeline:
    """The rows of one view, by entity key, in order of the time from which they were visible."""

    def __init__(self, rows: pl.DataFrame, key: str, features: Sequence[str]) -> None:
        self._rows: dict[str, tuple[list[datetime], list[dict[str, float]]]] = {}
        for (entity,), part in rows.sort("event_timestamp").partition_by(key, as_dict=True).items():
            self._rows[str(entity)] = part["event_timestamp"].to_list(), part.select(features).to_dicts()

    def rows(self, key: str) -> tuple[list[datetime], list[dict[str, float]]]:
        return self._rows.get(key, ([], []))


def row_to_compare(
    visible: Sequence[datetime], happened: datetime, asked: datetime, served: datetime | None, allowed: timedelta, batch: bool
) -> tuple[int | None, timedelta | None]:
    """Which of an entity's rows served values are held against, and for how long serving had missed a newer one (None: it had the newest).

    Args:
        visible: from when each row could be seen, ascending. happened: the event's time, which training asks for.
        asked: when serving looked. served: the time of the row that it got, None without one: then, and only within `allowed`, a first row
            is late, and later it is missing.
        batch: a row published between `happened` and `asked` is no look into the future: a batch row holds nothing of its own day.

    Returns:
        The row's number, None for no row (all values 0).
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
    """Whether two values of a feature are the same one; a feature that offline does not know agrees with nothing."""
    return offline is not None and abs(served - offline) <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * abs(offline)
