"""Scores of a window over fixed bins, with their sum per bin: what performance is estimated from before labels arrive (`expected_performance`).

Bins are of equal width in log-odds: fraud scores crowd near 0, and what decides precision and recall lies in the few near 1, where quantile bins
would have none. The flagging threshold is an edge, so what is flagged is known exactly. Mergeable, O(bins).
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

# From one in 100,000 to all but as many, in 20ths of a power of e: 460 bins, 8 kB a window. Within a bin scores differ by 5 %.
LARGEST_LOG_ODDS = 11.5
BINS_PER_LOG_ODD = 20


class ScoreHistogram(msgspec.Struct):
    """Counts and sums over the bins (-inf, e1], (e1, e2], ..., (en, inf) of scores. Serialisable by msgspec.

    Attributes:
        threshold: a score at or above it is flagged. counts, sums: per bin: rows, and the sum of their scores.
    """

    threshold: float
    counts: list[int]
    sums: list[float]

    @property
    def rows(self) -> int:
        return sum(self.counts)

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        return score_edges(self.threshold)

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """Mean score per bin; 0 in an empty one."""
        counts = np.array(self.counts, dtype=np.float64)
        return np.divide(self.sums, counts, out=np.zeros_like(counts), where=counts > 0)

    @property
    def first_flagged(self) -> int:
        """The first bin whose scores are flagged; all after it are too, and none before it."""
        return int(np.searchsorted(self.edges, self.threshold, side="left"))

    def add(self, scores: Floats) -> None:
        """Count rows. scores: shape (rows,), in [0, 1].

        Raises:
            ValueError: a score is outside [0, 1] or not finite; nothing was counted.
        """
        s = np.asarray(scores, dtype=np.float64)
        if s.ndim != 1 or not ((s >= 0) & (s <= 1)).all():
            raise ValueError(
                f"scores must have shape (rows,) and lie in [0, 1], got shape {s.shape}, {s[~((s >= 0) & (s <= 1))][:3]}"
            )
        at = np.searchsorted(self.edges, s, side="left")
        self.counts = (np.array(self.counts) + np.bincount(at, minlength=len(self.counts))).tolist()
        self.sums = (np.array(self.sums) + np.bincount(at, weights=s, minlength=len(self.sums))).tolist()

    def merge(self, other: ScoreHistogram) -> None:
        """Add another window's rows, which must not overlap with these. Counts are exact in any order, sums to rounding.

        Raises:
            ValueError: the thresholds, and so the bins, differ.
        """
        if self.threshold != other.threshold:
            raise ValueError(f"thresholds differ: {self.threshold} and {other.threshold}")
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sums = [mine + theirs for mine, theirs in zip(self.sums, other.sums, strict=True)]


def score_histogram(threshold: float, scores: Floats | None = None) -> ScoreHistogram:
    """A histogram for a version's threshold, of these scores or empty. Arguments and errors as for `score_edges` and `ScoreHistogram.add`."""
    bins = len(score_edges(threshold)) + 1
    found = ScoreHistogram(threshold, [0] * bins, [0.0] * bins)
    if scores is not None:
        found.add(scores)
    return found


@lru_cache(maxsize=64)  # versions at a time are few; making the edges takes as long as counting 2,000 scores
def score_edges(threshold: float) -> npt.NDArray[np.float64]:
    """The inner edges, read-only, strictly increasing, one of them just below the threshold: a bin includes its upper edge, flagging its threshold.

    Raises:
        ValueError: the threshold is no finite number > 0.
    """
    if not (np.isfinite(threshold) and threshold > 0):
        raise ValueError(f"threshold must be a finite number > 0, got {threshold}")
    steps = round(LARGEST_LOG_ODDS * BINS_PER_LOG_ODD)
    even = 1 / (1 + np.exp(-np.arange(-steps, steps + 1) / BINS_PER_LOG_ODD))
    edges = np.union1d(even, [np.nextafter(threshold, -np.inf)])
    edges.setflags(write=False)
    return edges
