"""Checks of a version's inputs and answers per window, against its reference profile. Pure.

    input_drift       PSI of each feature. A category's last bin is all that the version does not
                      know, and its note names these.
    prediction_drift  PSI of the scores, and of the items that are shown
    data_quality      values missing, out of range

The task adds checks of answers without labels (`Task.proxy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from dojo.core.registry.reference_profile import SLOTS, Distribution, ReferenceProfile
from dojo.core.spec.monitoring import Drift, Levels
from dojo.core.tasks.item_bins import equal_items
from dojo.core.tasks.measured import Distances, Measured
from dojo.core.tasks.protocol import Task
from dojo.stats.distances.divergence import (
    jensen_shannon,
    ks_bounds,
    kullback_leibler,
    wasserstein_of_counts,
)
from dojo.stats.distances.psi_noise import per_feature_level, psi_critical_value
from dojo.stats.histograms.binning import population_stability_index
from dojo.stats.inference.proportions import wilson_interval
from feature_repo import catalog
from services.monitor.counting.windows import SCORE, CountedWindow, Kind

Counts = npt.NDArray[np.int64]

# The reference for an hour is widened by neighbouring hours until it has this many rows. Its own
# noise is then a tenth of a window's.
REFERENCE_ROWS = 3_000

# New categories that a note names.
NAMED = 5

# The subject of the shown items.
ITEMS = "items"


@dataclass(frozen=True)
class WindowComparison:
    """One window of a version's answers, and the reference for its judgement.

    Attributes:
        start: Start of the window.
        unanswered: Requests for the model in the same window that only the spec's fallback
            answered.
    """

    window: CountedWindow
    kind: Kind
    start: datetime
    profile: ReferenceProfile
    drift: Drift
    unanswered: int = 0

    @property
    def counted(self) -> int:
        """Number of answers in the histogram."""
        return self.window.histogram.rows if self.window.histogram is not None else 0

    @property
    def enough(self) -> bool:
        return self.counted >= self.drift.minimum_rows


def input_drift(
    asked: WindowComparison, thresholds: Mapping[str, Levels] | None = None
) -> dict[str, Measured]:
    """Return the PSI of each feature.

    Args:
        thresholds: Overrides for features that do not use the spec's levels.
    """
    names = [name for name in asked.profile.features if name not in asked.drift.calendar]
    own = thresholds or {}
    return {
        name: _psi(
            asked,
            name,
            asked.profile.features[name],
            own.get(name, asked.drift.thresholds),
            len(names),
        )
        for name in names
    }


def prediction_drift(asked: WindowComparison) -> dict[str, Measured]:
    """Return the PSI of the scores, and of the items that flagged answers recommend."""
    scores = {SCORE: _psi(asked, SCORE, asked.profile.score, asked.drift.thresholds, 1)}
    shown = asked.profile.shown
    return scores if shown is None else scores | {ITEMS: _items(asked, shown.bins)}


def _items(asked: WindowComparison, column: Distribution) -> Measured:
    """Return the PSI of the shown items, with the catalogue's width in the note."""
    counts, levels = asked.window.items, asked.drift.thresholds
    rows = int(counts.sum())
    if rows < asked.drift.minimum_rows:
        note = f"{rows:,} shown items, {asked.drift.minimum_rows:,} are needed"
        return Measured(ITEMS, None, levels, rows, note=note)
    reference = reference_counts(column, asked.kind, asked.start)
    seen = (reference > 0) | (counts > 0)  # a bin without any item says nothing
    noise = psi_critical_value(
        max(int(seen.sum()), 2),
        int(reference.sum()),
        rows,
        significance=asked.drift.significance,
        features=1,
        excess=column.quiet_hour if asked.kind == "hour" else column.quiet_day,
    )
    note = (
        f"shown as unevenly as {equal_items(counts):.0f} equally frequent groups of items,"
        f" {equal_items(reference):.0f} in the holdout"
    )
    psi = population_stability_index(reference[seen], counts[seen])
    return Measured(ITEMS, psi, levels, rows, noise, note)


def data_quality(asked: WindowComparison) -> dict[str, Measured]:
    """Return rises over the holdout's shares.

    Per view, the share of answers without its values. Per feature, the share outside the holdout's
    range or not a number.
    """
    rows, levels = asked.window.rows, asked.drift.missing
    enough = rows >= asked.drift.minimum_rows
    found = {}
    for view in sorted({*asked.profile.missing, *asked.window.missing}):
        reference = asked.profile.missing.get(view, 0.0)
        count = asked.window.missing.get(view, 0)
        value = max(0.0, count / rows - reference) if enough else None
        found[view] = Measured(
            view,
            value,
            levels,
            rows,
            _share_noise(reference, rows, asked),
            "share of answers without its values",
        )
    total = rows + asked.unanswered
    found["no_version"] = Measured(
        "no_version", asked.unanswered / total if enough else None, levels, total,
        _share_noise(0.0, total, asked),
        "share of requests that no version could answer",
    )  # fmt: skip
    if asked.window.histogram is None or not asked.enough:
        # Subjects without a value. Absent subjects would mean features without a bad value.
        return found | {
            name: Measured(name, None, levels, asked.counted) for name in asked.profile.features
        }
    histogram = asked.window.histogram
    for at, name in enumerate(histogram.plan.names[:-1]):
        bad = int(histogram.nulls[at]) + (
            0 if name in catalog.COUNTS else int(histogram.out_of_range[at])
        )
        if bad:
            note = (
                f"out of the holdout's range, or not a number ({int(histogram.nulls[at])} of these)"
            )
            value = bad / histogram.rows
            found[name] = Measured(
                name, value, levels, histogram.rows, _share_noise(0.0, rows, asked), note
            )
    return found


def proxy_check(asked: WindowComparison, check: str, task: Task) -> dict[str, Measured]:
    """Return what the window's answers show without their labels."""
    return task.proxy(check, asked.window.answers, asked.profile.without_labels)


def reference_counts(column: Distribution, kind: Kind, start: datetime) -> Counts:
    """Return the holdout's counts for comparison with a window.

    For an hour, the rows of the same hour of the day, widened by its neighbours while they are few.
    For a day, the rows of the same kind of day (working days or weekend). All rows if the profile
    has no slots, or too few rows of that kind.
    """
    whole = np.asarray(column.counts, dtype=np.int64)
    if not column.slots:
        return whole
    slots = np.asarray(column.slots, dtype=np.int64)
    first = 24 if start.weekday() >= 5 else 0
    of_kind = slots[first : first + SLOTS // 2]
    if kind == "day":
        same: Counts = of_kind.sum(axis=0)
        return same if same.sum() >= REFERENCE_ROWS else whole
    for reach in range(12):
        hours = {(start.hour + offset) % 24 for offset in range(-reach, reach + 1)}
        same = of_kind[sorted(hours)].sum(axis=0)
        if same.sum() >= REFERENCE_ROWS:
            return same
    return whole


def _psi(
    asked: WindowComparison, name: str, column: Distribution, levels: Levels, tested: int
) -> Measured:
    histogram, rows = asked.window.histogram, asked.counted
    if histogram is None or not asked.enough:
        return Measured(name, None, levels, rows)
    at = histogram.plan.names.index(name)
    current = histogram.counts[at, : len(column.counts)]
    reference = reference_counts(column, asked.kind, asked.start)
    if not current.sum():
        return Measured(name, None, levels, rows, note="no value is a number")
    distances = _distances(
        column, reference, current, float(histogram.minimum[at]), float(histogram.maximum[at])
    )
    if np.count_nonzero(reference) < 2:
        # A constant in the holdout. Any row elsewhere is a change, and no spread explains it.
        reference = reference + 1
    noise = psi_critical_value(
        int(np.count_nonzero(reference)),
        int(reference.sum()),
        int(current.sum()),
        significance=asked.drift.significance,
        features=tested,
        excess=column.quiet_hour if asked.kind == "hour" else column.quiet_day,
    )
    psi = population_stability_index(reference, current)
    note = _new_categories(asked, name, current) if column.categories else ""
    return Measured(name, psi, levels, rows, noise, note, distances)


def _new_categories(asked: WindowComparison, name: str, current: Counts) -> str:
    """Name the categories that the version does not know, the most frequent first."""
    rows = int(current.sum())
    found = sorted(
        asked.window.new_categories.get(name, {}).items(), key=lambda one: (-one[1], one[0])
    )
    named = ", ".join(f"{category} {count / rows:.1%}" for category, count in found[:NAMED])
    more = "" if len(found) <= NAMED else f" and {len(found) - NAMED} more"
    if len(found) > 1:
        more += f"; {current[-1] / rows:.1%} in all"
    return f"new: {named}{more}" if named else ""


def _distances(
    column: Distribution, reference: Counts, current: Counts, minimum: float, maximum: float
) -> Distances:
    """Return other distances of the same counts.

    Args:
        minimum: Smallest finite value of the window, in the column's unit.
        maximum: Largest finite value of the window, in the column's unit.
    """
    area: tuple[float, float] | tuple[None, None] = (None, None)
    if column.low is not None and column.high is not None and len(column.edges):
        edges = np.asarray(column.edges, dtype=np.float64)
        low, high = min(column.low, minimum, edges[0]), max(column.high, maximum, edges[-1])
        area = wasserstein_of_counts(reference, current, edges, low, high)
    if column.categories:  # without an order there is no distance along it
        return Distances(
            kullback_leibler=kullback_leibler(reference, current),
            jensen_shannon=jensen_shannon(reference, current),
        )
    return Distances(
        kullback_leibler=kullback_leibler(reference, current),
        jensen_shannon=jensen_shannon(reference, current),
        ks=ks_bounds(reference, current),
        wasserstein=area[0],
        wasserstein_error=area[1],
    )


def _share_noise(reference: float, rows: int, asked: WindowComparison) -> float | None:
    """Return the rise of a share that chance reaches.

    It is Wilson's upper end for the holdout's share.
    """
    if not rows:
        return None
    tested = len(asked.profile.features) + len(asked.profile.missing)
    level = per_feature_level(asked.drift.significance, max(tested, 1))
    return wilson_interval(reference, rows, 1 - 2 * level)[1] - reference
