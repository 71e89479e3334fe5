"""An hour's counts. Memory does not grow with traffic, and hours add up to their day. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.tasks.item_bins import ITEM_BINS, item_histogram
from dojo.core.tasks.records import AnswerCounts
from dojo.core.tasks.score_bins import SCORE_EDGES, score_histogram
from dojo.stats.histograms.bin_plan import BinPlan
from dojo.stats.histograms.histogram import MatrixHistogram

Kind = Literal["hour", "day"]
LENGTH: dict[Kind, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}

# New categories of a feature and window that are kept by name. A caller could send any number.
MOST_NAMES = 20

# The column of the scores. It follows the features.
SCORE = "score"


def floor(moment: datetime, kind: Kind) -> datetime:
    """Return the start of the moment's hour or day (UTC)."""
    start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return start.replace(hour=0) if kind == "day" else start


def plan_of(profile: ReferenceProfile) -> BinPlan:
    """Return the bins for a version's windows: those in its profile, with the profile's ranges."""
    columns = {**profile.features, SCORE: profile.score}
    return BinPlan(
        {name: column.edges for name, column in columns.items()},
        {name: column.low for name, column in columns.items() if column.low is not None},
        {name: column.high for name, column in columns.items() if column.high is not None},
    )


class _StoredWindow(msgspec.Struct, array_like=True, frozen=True):
    rows: int
    flagged: int
    degraded: int
    missing: dict[str, int]
    histogram: bytes | None
    score_counts: bytes
    score_sums: bytes
    items: bytes = b""
    new_categories: dict[str, dict[str, int]] = {}


class CountedWindow:
    """One version's answers of one hour, or of several hours merged.

    Attributes:
        rows: Number of answers.
        flagged: Number of flagged answers.
        degraded: Number of answers that named a degradation.
        missing: View -> number of answers without its values.
        histogram: Counts of features and score. None without a profile for the counting. It may
            have fewer rows than the window.
        score_counts: Number of answers by bin of SCORE_EDGES.
        score_sums: Sum of the scores by bin of SCORE_EDGES.
        items: Number of flagged answers by bin of their item. All 0 where the profile names no
            item.
        new_categories: Feature -> name -> number of answers with a category that the version does
            not know. At most MOST_NAMES names of a feature, the first ones.
    """

    def __init__(self) -> None:
        self.rows = self.flagged = self.degraded = 0
        self.missing: dict[str, int] = {}
        self.histogram: MatrixHistogram | None = None
        width = len(SCORE_EDGES) + 1
        self.score_counts: npt.NDArray[np.int64] = np.zeros(width, dtype=np.int64)
        self.score_sums: npt.NDArray[np.float64] = np.zeros(width)
        self.items: npt.NDArray[np.int64] = np.zeros(ITEM_BINS, dtype=np.int64)
        self.new_categories: dict[str, dict[str, int]] = {}

    def add(
        self,
        matrix: npt.NDArray[np.float32],
        flagged: int,
        degraded: int,
        missing: Iterable[str],
        plan: BinPlan | None,
        items: Iterable[str] = (),
        new_categories: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Count answers.

        Args:
            matrix: Shape (answers, features + 1), the score last. It is float32 like the
                model's input. As float64, 0.7 would lie above an edge at the float32 of 0.7.
                Categories are codes.
            missing: A view's name for each answer without its values.
            items: Key of each flagged answer's item.
            new_categories: A feature and its unknown category, for each answer with one.
        """
        self.rows += len(matrix)
        self.flagged += flagged
        self.degraded += degraded
        for view in missing:
            self.missing[view] = self.missing.get(view, 0) + 1
        counts, sums = score_histogram(matrix[:, -1].astype(np.float64))
        self.score_counts += counts
        self.score_sums += sums
        self.items += item_histogram(items)
        for feature, name in new_categories:
            self._name(feature, name, 1)
        if plan is not None:
            if self.histogram is None:
                self.histogram = MatrixHistogram(plan)
            self.histogram.add(matrix)

    def _name(self, feature: str, name: str, count: int) -> None:
        names = self.new_categories.setdefault(feature, {})
        if name in names or len(names) < MOST_NAMES:
            names[name] = names.get(name, 0) + count

    @property
    def answers(self) -> AnswerCounts:
        """Return the counts for judging without labels."""
        return AnswerCounts(self.rows, self.flagged, self.score_counts, self.score_sums)

    def merge(self, other: CountedWindow) -> None:
        """Add another window's answers, of the same version."""
        self.rows += other.rows
        self.flagged += other.flagged
        self.degraded += other.degraded
        for view, count in other.missing.items():
            self.missing[view] = self.missing.get(view, 0) + count
        self.score_counts = self.score_counts + other.score_counts
        self.score_sums = self.score_sums + other.score_sums
        self.items = self.items + other.items
        for feature, names in other.new_categories.items():
            for name, count in names.items():
                self._name(feature, name, count)
        if other.histogram is not None:
            if self.histogram is None:
                self.histogram = MatrixHistogram(other.histogram.plan)
            self.histogram.merge(other.histogram)

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(
            _StoredWindow(
                self.rows, self.flagged, self.degraded, self.missing,
                self.histogram.to_bytes() if self.histogram else None,
                self.score_counts.astype("<i8").tobytes(), self.score_sums.astype("<f8").tobytes(),
                self.items.astype("<i8").tobytes() if self.items.any() else b"",
                self.new_categories,
            )
        )  # fmt: skip

    @staticmethod
    def from_bytes(content: bytes, plan: BinPlan | None) -> CountedWindow:
        """Inverse of `to_bytes`.

        Args:
            plan: The plan by which the answers were counted. None only if they were not counted.

        Raises:
            ValueError: The content is damaged, is no stored window, or was counted by another plan.
        """
        try:
            stored = msgspec.msgpack.decode(content, type=_StoredWindow)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no stored window: {error}") from error
        window = CountedWindow()
        window.rows, window.flagged, window.degraded = stored.rows, stored.flagged, stored.degraded
        window.missing = dict(stored.missing)
        window.new_categories = {name: dict(of) for name, of in stored.new_categories.items()}
        window.score_counts = np.frombuffer(stored.score_counts, "<i8").astype(np.int64)
        window.score_sums = np.frombuffer(stored.score_sums, "<f8").astype(np.float64)
        if stored.items:
            window.items = np.frombuffer(stored.items, "<i8").astype(np.int64)
        if stored.histogram is not None:
            if plan is None:
                raise ValueError("the window was counted over bins that are not known")
            window.histogram = MatrixHistogram.from_bytes(plan, stored.histogram)
        return window


def merged(windows: Sequence[CountedWindow]) -> CountedWindow:
    """Return all answers of several windows of one version."""
    total = CountedWindow()
    for window in windows:
        total.merge(window)
    return total


# Bins for the delays of labels, 5 % wide, from a minute to 180 days. The median is exact to 2.5 %.
DELAY_EDGES = 60.0 * 1.05 ** np.arange(0, 256)


class LabelWindow:
    """Labels that arrived within an hour or day: their number and their delays."""

    def __init__(self, counts: npt.NDArray[np.int64] | None = None) -> None:
        self.counts: npt.NDArray[np.int64] = (
            np.zeros(len(DELAY_EDGES) + 1, dtype=np.int64) if counts is None else counts
        )

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    def add(self, delays: npt.NDArray[np.float64]) -> None:
        """Count labels.

        Args:
            delays: World seconds, shape (labels,).
        """
        self.counts = self.counts + np.bincount(
            np.searchsorted(DELAY_EDGES, delays), minlength=len(self.counts)
        )

    def median(self) -> float | None:
        """Return the median delay in world seconds, None without labels."""
        if not self.rows:
            return None
        at = int(np.searchsorted(np.cumsum(self.counts), self.rows / 2))
        return float(DELAY_EDGES[min(max(at - 1, 0), len(DELAY_EDGES) - 1)] * 1.05**0.5)

    def to_bytes(self) -> bytes:
        return self.counts.astype("<i8").tobytes()

    @staticmethod
    def from_bytes(content: bytes) -> LabelWindow:
        return LabelWindow(np.frombuffer(content, "<i8").astype(np.int64))
