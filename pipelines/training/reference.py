"""Computes a new version's reference profile from its holdout.

dojo/core/registry/reference_profile.py defines the profile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.core.categories import Categories, codes_of
from dojo.core.labels import standing_for
from dojo.core.registry.reference_profile import (
    FORMAT,
    SLOTS,
    Distribution,
    ReferenceProfile,
    Segmentation,
    ShownItems,
    category_edges,
    distribution,
    slot_numbers,
)
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.item_bins import ITEM_EDGES, item_bins
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.records import AnswerCounts, Answered, HoldoutVariation, Results
from dojo.core.tasks.score_bins import score_histogram
from dojo.core.tasks.specs import task_of
from dojo.stats.histograms.binning import bin_counts, population_stability_index
from pipelines.training.segments import segmentation_of

# Windows of the holdout with fewer rows are skipped. With so few rows, PSI over ten bins mostly
# shows empty bins, not the difference between windows.
MINIMUM_ROWS = 200


@dataclass(frozen=True)
class ReferenceHoldout:
    """A version's holdout rows. All attributes have them in the same order.

    Attributes:
        names: Names of the features.
        inputs: Feature values as the model sees them, shape (rows, features).
        answered: The version's answers on the rows.
        missing: View -> share of rows without its values.
        categories: The version's known categories.
    """

    names: Sequence[str]
    inputs: npt.NDArray[np.float32]
    answered: Answered
    missing: Mapping[str, float]
    categories: Categories = field(default_factory=dict)

    def column(self, feature: str) -> npt.NDArray[np.float64]:
        """Return the values of one feature, shape (rows,)."""
        return self.inputs[:, list(self.names).index(feature)].astype(np.float64)


def profile_of(holdout: ReferenceHoldout, spec: ModelSpec) -> ReferenceProfile:
    """Return the profile of a version's holdout.

    Distributions are of the rows that the labelled rows stand for. Results are weighted.
    """
    task, segment = task_of(spec), spec.drift.segment
    rows = standing_for(task.stands_for(holdout.answered.weights), len(holdout.inputs))
    inputs, answered = holdout.inputs[rows], holdout.answered.of(rows)
    calibration = task.calibration(answered)
    segmentation = (
        segmentation_of(holdout.column(segment), segment) if segment in holdout.names else None
    )
    return ReferenceProfile(
        rows=len(inputs),
        features={
            name: _category(inputs[:, i], answered.times, holdout.categories[name])
            if name in holdout.categories
            else _timed(inputs[:, i], answered.times)
            for i, name in enumerate(holdout.names)
        },
        score=_timed(answered.scores, answered.times),
        results=task.results(holdout.answered),
        format=FORMAT,
        calibration=calibration,
        proxies=_proxies(task, answered, calibration),
        missing=dict(holdout.missing),
        segmentation=segmentation,
        segments=_segments(task, holdout, segmentation),
        shown=_shown(task, answered),
        decision=dict(holdout.answered.decision),
    )


def _shown(task: Task, answered: Answered) -> ShownItems | None:
    if task.item is None or answered.flagged is None or not answered.flagged.any():
        return None
    shown = answered.of(answered.flagged)
    bins = item_bins(shown.entities[task.item]).astype(np.float64)
    return ShownItems(task.item, _timed(bins, shown.times, ITEM_EDGES))


def _proxies(
    task: Task, answered: Answered, calibration: tuple[float, ...]
) -> dict[str, HoldoutVariation]:
    of_all = task.proxies(_counts(answered), calibration)
    by_day = [
        task.proxies(_counts(answered.of(rows)), calibration) for rows in _days(answered.times)
    ]
    return {name: _quiet(value, [day[name] for day in by_day]) for name, value in of_all.items()}


def _counts(answered: Answered) -> AnswerCounts:
    flagged = 0 if answered.flagged is None else int(answered.flagged.sum())
    return AnswerCounts(len(answered.scores), flagged, *score_histogram(answered.scores))


def _category(
    numbers: npt.NDArray[np.floating], times: npt.NDArray[np.datetime64], known: Sequence[str]
) -> Distribution:
    """Return the distribution of a category's codes. Codes have no range and no moments."""
    counted = _timed(codes_of(numbers, known), times, category_edges(known))
    return msgspec.structs.replace(
        counted, low=None, high=None, mean=0.0, std=0.0, categories=tuple(known)
    )


def _timed(
    values: npt.NDArray[np.floating],
    times: npt.NDArray[np.datetime64],
    bins: tuple[float, ...] | None = None,
) -> Distribution:
    """Return a column's distribution, its counts by slot, and how much hours and days differ.

    `bins` are the edges between bins. None for the values' quantiles.
    """
    whole = distribution(values, bins)
    edges, exact = np.asarray(whole.edges), np.asarray(values, dtype=np.float64)
    slots = slot_numbers(times)
    by_slot = np.array([bin_counts(exact[slots == slot], edges) for slot in range(SLOTS)])
    hours = [
        (bin_counts(exact[rows], edges), by_slot[slots[rows][0]]) for rows in _windows(times, "h")
    ]
    of_kind = by_slot[:24].sum(axis=0), by_slot[24:].sum(axis=0)
    days = [
        (bin_counts(exact[rows], edges), of_kind[int(slots[rows][0] >= 24)])
        for rows in _windows(times, "D")
    ]
    return msgspec.structs.replace(
        whole,
        slots=tuple(tuple(row) for row in by_slot.tolist()),
        quiet_hour=_excess(hours),
        quiet_day=_excess(days),
    )


def _excess(windows: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]) -> float:
    """Return the mean excess of PSI per degree of freedom.

    The excess is a window's PSI against the rest of its kind, minus the PSI of independent rows.

    Args:
        windows: Pairs of counts per bin. First those in the window, then those in all windows of
            its kind, with this window included.
    """
    found = []
    for counts, kind in windows:
        rest = kind - counts
        rows, others = int(counts.sum()), int(rest.sum())
        seen = kind > 0  # a bin without any row says nothing
        freedom = int(seen.sum()) - 1
        if rows >= MINIMUM_ROWS and others >= MINIMUM_ROWS and freedom > 0:
            found.append(
                population_stability_index(rest[seen], counts[seen]) / freedom
                - (1 / rows + 1 / others)
            )
    return max(0.0, float(np.mean(found))) if found else 0.0


def _windows(times: npt.NDArray[np.datetime64], unit: str) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the row numbers of each hour ("h") or day ("D") with rows."""
    _, window = np.unique(times.astype(f"datetime64[{unit}]"), return_inverse=True)
    for number in range(int(window.max()) + 1):
        yield np.flatnonzero(window == number)


def _days(times: npt.NDArray[np.datetime64]) -> Iterator[npt.NDArray[np.int64]]:
    return _windows(times, "D")


def _quiet(mean: float, by_day: Sequence[float]) -> HoldoutVariation:
    """Leave out days without a value. Their scores expect no positive."""
    days = [value for value in by_day if np.isfinite(value)]
    return HoldoutVariation(
        mean=mean, std=float(np.std(days, ddof=1)) if len(days) > 1 else 0.0, days=max(len(days), 1)
    )


def _segments(
    task: Task, holdout: ReferenceHoldout, segmentation: Segmentation | None
) -> dict[str, Results]:
    if segmentation is None:
        return {}
    codes = segmentation.codes(holdout.column(segmentation.feature))
    return {
        name: task.results(holdout.answered.of(codes == code))
        for code, name in enumerate(segmentation.names)
        if (codes == code).any()
    }
