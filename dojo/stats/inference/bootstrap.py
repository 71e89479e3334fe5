"""How sure a difference between two models is, by a paired bootstrap over clusters of rows.

Payments are not independent. A compromised customer or merchant brings several positives, and a
model finds or misses them together. Drawing single rows would count them as many proofs and make
every interval too narrow. The bootstrap therefore draws whole customers (or merchants) with
replacement. It judges both models on the same draw.

A draw is a whole number of copies per row. The rows are sorted once per model. Its PR-AUC then
takes two passes over them.
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
    """Labels in the order of one model's scores, cut into segments.

    Each segment ends with the last row of a group of equal scores. The group holds a positive,
    because precision counts only at positives. Rows below the last positive are left out.

    Attributes:
        rows: Number of ranked rows.
        order: Row numbers from the highest score on.
        starts: Positions in `order` at which the segments begin.
        ties: Positions in `order` at which each segment's last group of equal scores begins.
        positives: Row numbers of the positives, in the same order.
        positive_starts: Positions in `positives` at which the segments begin.
    """

    rows: int
    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ties: npt.NDArray[np.int64]
    positives: npt.NDArray[np.int64]
    positive_starts: npt.NDArray[np.int64]

    def pr_auc(self, weights: Weights) -> float:
        """Return the weighted PR-AUC (`classification.pr_auc`) of the rows.

        Args:
            weights: Copies of each row, >= 0, shape (rows,).

        Returns:
            In [0, 1]. NaN when no positive has any weight.
        """
        counted = np.cumsum(np.add.reduceat(weights[self.order], self.starts), dtype=np.float64)
        found = np.add.reduceat(weights[self.positives], self.positive_starts).astype(np.float64)
        true_positives = np.cumsum(found)
        if true_positives[-1] == 0:
            return float("nan")
        precision = np.divide(
            true_positives, counted, out=np.zeros_like(counted), where=counted > 0
        )
        return float(np.dot(found, precision) / true_positives[-1])

    def roc_auc(self, weights: Weights) -> float:
        """Return the ROC-AUC (`classification.roc_auc`), weighted as in `pr_auc`.

        NaN when a class has no weight.
        """
        counted = np.concatenate([[0.0], np.cumsum(weights[self.order], dtype=np.float64)])
        found = np.add.reduceat(weights[self.positives], self.positive_starts).astype(np.float64)
        above = counted[self.ties] - (np.cumsum(found) - found)  # negatives with a higher score
        tied = counted[np.append(self.starts[1:], len(self.order))] - counted[self.ties] - found
        pairs = found.sum() * (float(weights.sum()) - found.sum())
        return float(1 - np.dot(found, above + tied / 2) / pairs) if pairs > 0 else float("nan")


def rank(labels: Array, scores: Array) -> RankedRows:
    """Sort the rows once, for many weights.

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Shape (rows,).

    Raises:
        ValueError: As for `classification.pr_auc`.
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


def cluster_weights(
    clusters: Sequence[npt.NDArray[np.integer]], draws: int, seed: int
) -> Iterator[npt.NDArray[np.int32]]:
    """Yield each row's number of copies in each of `draws` draws, shape (rows,).

    Args:
        clusters: The cluster of each row, shape (rows,), once per way of clustering. One way is the
            cluster bootstrap. With two ways, a row's copies are the product of its clusters' copies
            (the pigeonhole bootstrap).
        draws: Number of draws.
        seed: Seed of the random draws.

    Raises:
        ValueError: There is no way of clustering, or their lengths differ.

    Source: Owen, The pigeonhole bootstrap (2007), for more than one way.
    """
    if not clusters or len({len(way) for way in clusters}) != 1:
        raise ValueError(
            "expected one cluster per row for each way of clustering, got lengths"
            f" {[len(w) for w in clusters]}"
        )
    numbered = [np.unique(way, return_inverse=True) for way in clusters]
    random = np.random.default_rng(seed)
    for _ in range(draws):
        weights = np.ones(len(clusters[0]), dtype=np.int32)
        for names, number in numbered:
            weights *= np.bincount(
                random.integers(0, len(names), len(names)), minlength=len(names)
            ).astype(np.int32)[number]
        yield weights


@dataclass(frozen=True, slots=True)
class RelativeGain:
    """The relative gain of a contender's metric, (contender - baseline) / baseline. Dimensionless.

    Attributes:
        value: The gain on the rows themselves.
        low: Lower end of the two-sided interval.
        high: Upper end of the two-sided interval.
        drawn: The gain in each draw, shape (draws,). Draws without a result, such as a draw without
            any positive, are left out.
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
    weights: Array | None = None,
) -> RelativeGain:
    """Return the gain with its percentile bootstrap interval.

    Args:
        metric: The compared metric.
        labels: 0 or 1, shape (rows,).
        baseline: The baseline's scores, shape (rows,).
        contender: The contender's scores, shape (rows,).
        clusters: As for `cluster_weights`.
        draws: Number of draws.
        confidence: Confidence of the two-sided interval, a fraction in (0, 1).
        seed: Seed of the random draws.
        weights: Number of like rows that each row stands for, shape (rows,). None is 1 for each.

    Raises:
        ValueError: As for `rank` and `cluster_weights`, or no draw held a positive.
    """
    first, second = rank(labels, baseline), rank(labels, contender)
    measure = {"pr_auc": RankedRows.pr_auc, "roc_auc": RankedRows.roc_auc}[metric]

    def gain(drawn: Weights) -> float:
        base = measure(first, drawn)
        return (measure(second, drawn) - base) / base

    return _with_interval(gain, first.rows, clusters, draws, confidence, seed, weights)


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
    weights: Array | None = None,
) -> RelativeGain:
    """Return the contender's relative gain in its mean, with its percentile bootstrap interval.

    Args:
        baseline: The baseline's value of each row, >= 0, shape (rows,).
        contender: The contender's value of the same rows, >= 0, shape (rows,).
        clusters: As for `cluster_weights`.
        lower_is_better: True when values are losses.
        root: Compare the roots of the means, as for squared errors.
        draws: Number of draws.
        confidence: Confidence of the two-sided interval, a fraction in (0, 1).
        seed: Seed of the random draws.
        weights: As for `relative_gain`.

    Raises:
        ValueError: As for `cluster_weights`, or the baseline's mean is 0.
    """
    old, new = np.asarray(baseline, dtype=np.float64), np.asarray(contender, dtype=np.float64)
    if not old.sum() > 0:
        raise ValueError("the baseline's mean is 0, so nothing can be relative to it")

    def gain(drawn: Weights) -> float:
        below = float(np.dot(drawn, old))
        return _better(float(np.dot(drawn, new)), below, root, lower_is_better)

    return _with_interval(gain, len(old), clusters, draws, confidence, seed, weights)


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
    weights: Array | None = None,
) -> RelativeGain:
    """Return a mean's relative loss against a known mean, with its percentile bootstrap interval.

    Above 0 is a loss.

    Args:
        values: Value of each row, >= 0, shape (rows,).
        promised: The known mean, or its root, > 0.
        clusters: As for `cluster_weights`.
        lower_is_better: As in `relative_gain_of_means`.
        root: As in `relative_gain_of_means`.
        draws: Number of draws.
        confidence: Confidence of the two-sided interval, a fraction in (0, 1).
        seed: Seed of the random draws.
        weights: As for `relative_gain`.

    Raises:
        ValueError: As for `cluster_weights`, or `promised` is not positive.
    """
    found = np.asarray(values, dtype=np.float64)
    if not promised > 0:
        raise ValueError(f"expected a promised value above 0, got {promised}")

    def lost(drawn: Weights) -> float:
        rows = float(np.sum(drawn))
        return -_better(
            float(np.dot(drawn, found)),
            rows * (promised**2 if root else promised),
            root,
            lower_is_better,
        )

    return _with_interval(lost, len(found), clusters, draws, confidence, seed, weights)


def _better(new: float, old: float, root: bool, lower_is_better: bool) -> float:
    """Return the relative gain of one sum over another. NaN when the other is not positive."""
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
    weights: Array | None,
) -> RelativeGain:
    each = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.float64)
    drawn = np.array(
        [
            figure(copies if weights is None else copies * each)
            for copies in cluster_weights(clusters, draws, seed)
        ]
    )
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        raise ValueError(f"none of {draws} draws held a row that counts")
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return RelativeGain(figure(each), float(low), float(high), drawn)
