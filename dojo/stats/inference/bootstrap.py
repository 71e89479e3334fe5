"""How sure a difference between two models is: a paired bootstrap over clusters of rows that belong together.

Payments are not independent: a compromised customer or merchant brings several positives, which a model finds or misses together.
Drawing single rows would count them as many proofs, and make every interval too narrow. So whole customers (or merchants) are drawn,
with replacement, and both models are judged on the same draw.

A draw is a whole number of copies per row. With the rows sorted once per model, its PR-AUC takes two passes over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dojo.stats.scores.classification import Array, _binary

Weights = npt.NDArray[np.integer] | npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class RankedRows:
    """Labels in the order of one model's scores, cut into segments that each end with the last of a group of equal scores that holds
    a positive: only there does precision count. Rows below the last positive are left out.

    Attributes:
        rows: how many were ranked.
        order: row numbers from the highest score on. `starts`: where each segment begins in it.
        ties: Where in `order` the group of equal scores begins that ends each segment.
        positives: row numbers of the positives in the same order. `positive_starts`: where each segment begins in them.
    """

    rows: int
    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ties: npt.NDArray[np.int64]
    positives: npt.NDArray[np.int64]
    positive_starts: npt.NDArray[np.int64]

    def pr_auc(self, weights: Weights) -> float:
        """PR-AUC (`classification.pr_auc`) of the rows, each as many times as its weight says; NaN when no positive has any weight.

        Args:
            weights: >= 0, shape (rows,).
        """
        counted = np.cumsum(np.add.reduceat(weights[self.order], self.starts), dtype=np.float64)
        found = np.add.reduceat(weights[self.positives], self.positive_starts).astype(np.float64)
        true_positives = np.cumsum(found)
        if true_positives[-1] == 0:
            return float("nan")
        precision = np.divide(true_positives, counted, out=np.zeros_like(counted), where=counted > 0)
        return float(np.dot(found, precision) / true_positives[-1])

    def roc_auc(self, weights: Weights) -> float:
        """ROC-AUC (`classification.roc_auc`) of the rows, weighted as in `pr_auc`; NaN when a class has no weight."""
        counted = np.concatenate([[0.0], np.cumsum(weights[self.order], dtype=np.float64)])
        found = np.add.reduceat(weights[self.positives], self.positive_starts).astype(np.float64)
        above = counted[self.ties] - (np.cumsum(found) - found)  # negatives with a higher score
        tied = counted[np.append(self.starts[1:], len(self.order))] - counted[self.ties] - found
        pairs = found.sum() * (float(weights.sum()) - found.sum())
        return float(1 - np.dot(found, above + tied / 2) / pairs) if pairs > 0 else float("nan")


def rank(labels: Array, scores: Array) -> RankedRows:
    """Sort once, for many weights. labels, scores: shape (rows,).

    Raises:
        ValueError: as `classification.pr_auc`.
    """
    y, s = _binary(labels, scores)
    if int(y.sum()) in (0, len(y)):
        raise ValueError(f"needs both classes, got {int(y.sum())} positives in {len(y)} rows")
    order = np.argsort(-s, kind="stable")
    sorted_labels = y[order]
    group_ends = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1) + 1
    group_starts = np.concatenate([[0], group_ends[:-1]])
    positives_by_end = np.cumsum(sorted_labels)[group_ends - 1]
    holds_positive = np.diff(positives_by_end, prepend=0) > 0
    ends, found = group_ends[holds_positive], positives_by_end[holds_positive]
    return RankedRows(
        rows=len(y),
        order=order[: ends[-1]],
        starts=np.concatenate([[0], ends[:-1]]),
        ties=group_starts[holds_positive],
        positives=order[sorted_labels == 1],
        positive_starts=np.concatenate([[0], found[:-1]]),
    )


def cluster_weights(clusters: Sequence[npt.NDArray[np.integer]], draws: int, seed: int) -> Iterator[npt.NDArray[np.int32]]:
    """How often each row is in each draw, shape (rows,), `draws` times.

    Args:
        clusters: the cluster of each row, shape (rows,), once per way of clustering. One way is the cluster bootstrap; with two,
            a row's copies are the product of both its clusters' (the pigeonhole bootstrap).

    Raises:
        ValueError: no way of clustering, or their lengths differ.

    Source: Owen, The pigeonhole bootstrap (2007), for more than one way.
    """
    if not clusters or len({len(way) for way in clusters}) != 1:
        raise ValueError(f"expected one cluster per row for each way of clustering, got lengths {[len(w) for w in clusters]}")
    numbered = [np.unique(way, return_inverse=True) for way in clusters]
    random = np.random.default_rng(seed)
    for _ in range(draws):
        weights = np.ones(len(clusters[0]), dtype=np.int32)
        for names, number in numbered:
            weights *= np.bincount(random.integers(0, len(names), len(names)), minlength=len(names)).astype(np.int32)[number]
        yield weights


@dataclass(frozen=True, slots=True)
class RelativeGain:
    """A metric of a contender relative to a baseline's: (contender - baseline) / baseline, dimensionless.

    Attributes:
        value: on the rows as they are. `low`, `high`: the two-sided interval's ends.
        drawn: the gain in each draw, shape (draws,); a draw that says nothing (such as one without any positive) is left out.
    """

    value: float
    low: float
    high: float
    drawn: npt.NDArray[np.float64]


def relative_gain(
    metric: Literal["pr_auc", "roc_auc"],
    labels: Array,
    baseline: Array,
    contender: Array,
    clusters: Sequence[npt.NDArray[np.integer]],
    *,
    draws: int,
    confidence: float,
    seed: int,
) -> RelativeGain:
    """The gain with its percentile bootstrap interval. labels, baseline, contender (scores): shape (rows,).

    Args:
        confidence: of the two-sided interval, a fraction in (0, 1).

    Raises:
        ValueError: as `rank` and `cluster_weights`, or no draw held a positive.
    """
    first, second = rank(labels, baseline), rank(labels, contender)
    measure = {"pr_auc": RankedRows.pr_auc, "roc_auc": RankedRows.roc_auc}[metric]

    def gain(weights: Weights) -> float:
        base = measure(first, weights)
        return (measure(second, weights) - base) / base

    return _with_interval(gain, first.rows, clusters, draws, confidence, seed)


def relative_gain_of_means(
    baseline: Array,
    contender: Array,
    clusters: Sequence[npt.NDArray[np.integer]],
    *,
    lower_is_better: bool,
    root: bool = False,
    draws: int,
    confidence: float,
    seed: int,
) -> RelativeGain:
    """By how much the contender's mean is better than the baseline's, relative to it, with its percentile bootstrap interval.

    Args:
        baseline: Value of each row, >= 0, shape (rows,).
        contender: Likewise, of the same rows.
        lower_is_better: Whether values are losses.
        root: Whether roots of the means are compared, as for squared errors.
        confidence: Of the two-sided interval, a fraction in (0, 1).

    Raises:
        ValueError: as `cluster_weights`, or the baseline's mean is 0.
    """
    old, new = np.asarray(baseline, dtype=np.float64), np.asarray(contender, dtype=np.float64)
    if not old.sum() > 0:
        raise ValueError("the baseline's mean is 0, so nothing can be relative to it")

    def gain(weights: Weights) -> float:
        below = float(np.dot(weights, old))
        return _better(float(np.dot(weights, new)), below, root, lower_is_better)

    return _with_interval(gain, len(old), clusters, draws, confidence, seed)


def relative_loss_of_mean(
    values: Array,
    promised: float,
    clusters: Sequence[npt.NDArray[np.integer]],
    *,
    lower_is_better: bool,
    root: bool = False,
    draws: int,
    confidence: float,
    seed: int,
) -> RelativeGain:
    """By how much a mean is worse than a known one, relative to it, with its percentile bootstrap interval. Above 0 is a loss.

    Args:
        values: Value of each row, >= 0, shape (rows,).
        promised: The known mean, or its root, > 0.
        lower_is_better, root: As in `relative_gain_of_means`.

    Raises:
        ValueError: as `cluster_weights`, or `promised` is not positive.
    """
    found = np.asarray(values, dtype=np.float64)
    if not promised > 0:
        raise ValueError(f"expected a promised value above 0, got {promised}")

    def lost(weights: Weights) -> float:
        rows = float(np.sum(weights))
        return -_better(float(np.dot(weights, found)), rows * (promised**2 if root else promised), root, lower_is_better)

    return _with_interval(lost, len(found), clusters, draws, confidence, seed)


def _better(new: float, old: float, root: bool, lower_is_better: bool) -> float:
    """Relative gain of one sum over another. NaN where there is nothing to be relative to."""
    if not old > 0:
        return float("nan")
    change = float(np.sqrt(new / old) if root else new / old) - 1
    return -change if lower_is_better else change


def _with_interval(
    figure: Callable[[Weights], float],
    rows: int,
    clusters: Sequence[npt.NDArray[np.integer]],
    draws: int,
    confidence: float,
    seed: int,
) -> RelativeGain:
    drawn = np.array([figure(weights) for weights in cluster_weights(clusters, draws, seed)])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        raise ValueError(f"none of {draws} draws held a row that counts")
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return RelativeGain(figure(np.ones(rows)), float(low), float(high), drawn)
