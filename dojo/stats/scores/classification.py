"""How well scores separate a rare class, and whether they mean what they say.

`labels` and `scores` have shape (rows,). A label is 0 or 1, where 1 is the positive class (fraud).
A higher score means "more likely positive". Rows with equal scores are one group. No threshold can
split them, so they enter or leave together. All results are dimensionless.

`weights`, shape (rows,) and > 0, says how many like rows each row stands for. Without it each row
stands for itself. A row that was sampled with probability p has the weight 1 / p.

Source of the weights: Horvitz and Thompson, A Generalization of Sampling Without Replacement from a
Finite Universe (1952).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating] | npt.NDArray[np.integer]

# Fewer labelled positives are insufficient data for a rate of positives. With 30, a catch rate is
# known to +-18 percentage points (95 %).
MINIMUM_POSITIVES = 30


def pr_auc(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Return the area under the precision-recall curve as average precision.

    It is the sum over thresholds of (recall_i - recall_{i-1}) * precision_i. This step function
    avoids an optimistic interpolation between thresholds. A random score gets the share of
    positives.

    Raises:
        ValueError: The shapes differ, a score is not finite, or one class is missing.

    Source: Davis and Goadrich, The Relationship Between Precision-Recall and ROC Curves (2006).
    """
    _, true_positives, false_positives = _counts_by_threshold(labels, scores, weights)
    precision = true_positives / (true_positives + false_positives)
    recall = true_positives / true_positives[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def roc_auc(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Return the probability that a positive scores above a negative, both random (Mann-Whitney U).

    Ties count half.

    Raises:
        ValueError: As for `pr_auc`.

    Source: Hanley and McNeil, The meaning and use of the area under a ROC curve (1982).
    """
    _, true_positives, false_positives = _counts_by_threshold(labels, scores, weights)
    true_rate = np.concatenate([[0.0], true_positives / true_positives[-1]])
    false_rate = np.concatenate([[0.0], false_positives / false_positives[-1]])
    return float(np.trapezoid(true_rate, false_rate))


def threshold_at_fpr(
    labels: Array, scores: Array, false_positive_rate: float, weights: Array | None = None
) -> float:
    """Return the lowest threshold that flags at most this share of the negatives.

    Rows with `score >= threshold` are flagged.

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Shape (rows,).
        false_positive_rate: Largest flagged share of the negatives, a fraction in (0, 1).
        weights: As above.

    Returns:
        One of the scores. When even the highest score holds too many negatives, a number just above
        it.

    Raises:
        ValueError: As for `pr_auc`, or the rate lies outside (0, 1).
    """
    _require_fraction("false_positive_rate", false_positive_rate)
    thresholds, _, false_positives = _counts_by_threshold(labels, scores, weights)
    allowed = false_positives <= false_positive_rate * false_positives[-1]
    if not allowed[0]:
        return float(np.nextafter(thresholds[0], np.inf))
    return float(thresholds[np.flatnonzero(allowed)[-1]])


def precision_at_fpr(
    labels: Array,
    scores: Array,
    false_positive_rate: float = 0.01,
    weights: Array | None = None,
) -> float:
    """Return the precision when at most this share of the negatives is flagged.

    0 when no threshold is strict enough, because then nothing is flagged.

    Raises:
        ValueError: As for `threshold_at_fpr`.
    """
    _require_fraction("false_positive_rate", false_positive_rate)
    _, true_positives, false_positives = _counts_by_threshold(labels, scores, weights)
    allowed = np.flatnonzero(false_positives <= false_positive_rate * false_positives[-1])
    if not len(allowed):
        return 0.0
    last = allowed[-1]
    return float(true_positives[last] / (true_positives[last] + false_positives[last]))


def recall_at_precision(
    labels: Array, scores: Array, precision: float = 0.5, weights: Array | None = None
) -> float:
    """Return the largest share of positives found by a threshold with at least this precision.

    0 when there is no such threshold.

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Shape (rows,).
        precision: Least precision, a fraction in (0, 1). At 0.5 a reviewer finds as many positives
            as honest customers.
        weights: As above.

    Raises:
        ValueError: As for `pr_auc`, or the precision lies outside (0, 1).
    """
    _require_fraction("precision", precision)
    _, true_positives, false_positives = _counts_by_threshold(labels, scores, weights)
    reached = true_positives >= precision * (true_positives + false_positives)
    return float(np.max(true_positives[reached], initial=0) / true_positives[-1])


def brier_score(labels: Array, probabilities: Array, weights: Array | None = None) -> float:
    """Return the mean squared distance of the probability from the outcome, in [0, 1].

    Lower is better.

    Raises:
        ValueError: The shapes differ, there are no rows, or a probability lies outside [0, 1].

    Source: Brier, Verification of forecasts expressed in terms of probability (1950).
    """
    y, p = _probabilities(labels, probabilities)
    return float(np.average((p - y) ** 2, weights=_each(weights, len(y))))


def expected_calibration_error(
    labels: Array, probabilities: Array, bins: int = 10, weights: Array | None = None
) -> float:
    """Return the mean distance between mean probability and share of positives over bins.

    Bins have equal width and are weighted by rows.

    Args:
        labels: 0 or 1, shape (rows,).
        probabilities: In [0, 1], shape (rows,).
        bins: Number of bins of [0, 1]. The last one includes 1.
        weights: As above.

    Raises:
        ValueError: As for `brier_score`, or bins < 1.

    Source: Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian
    binning (2015).
    """
    means, shares, counts = calibration_curve(labels, probabilities, bins, weights)
    filled = counts > 0
    return float(np.sum(np.abs(means - shares)[filled] * counts[filled]) / np.sum(counts))


def calibration_curve(
    labels: Array, probabilities: Array, bins: int = 10, weights: Array | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean probability, share of positives and weight per equal-width bin.

    Each has the shape (bins,). Without `weights`, the weight of a bin is its number of rows.

    Mean and share are NaN in an empty bin.

    Raises:
        ValueError: As for `expected_calibration_error`.
    """
    if bins < 1:
        raise ValueError(f"bins must be >= 1, got {bins}")
    y, p = _probabilities(labels, probabilities)
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    each = _each(weights, len(y))
    counts = np.bincount(index, weights=each, minlength=bins).astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of an empty bin
        means = np.bincount(index, weights=p * each, minlength=bins) / counts
        shares = np.bincount(index, weights=y * each, minlength=bins) / counts
    return means, shares, counts


def entity_precision_at_k(
    labels: Array,
    scores: Array,
    entities: Sequence[str] | npt.NDArray[np.str_],
    days: npt.NDArray[np.integer],
    k: int = 100,
) -> float:
    """Return the mean daily share of positives among the day's k entities with the highest scores.

    This is the precision for an investigator able to check k entities a day. An entity's score is
    its highest score of the day. An entity is positive when it has a positive row that day. A found
    positive entity is blocked, so later days leave it out. A day with fewer than k entities still
    divides by k.

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Shape (rows,).
        entities: The card of each row, shape (rows,).
        days: The day number of each row, shape (rows,).
        k: Entities that an investigator can check a day, >= 1.

    Raises:
        ValueError: The shapes differ, a score is not finite, there are no rows, or k < 1.

    Source: Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022),
    chapter 4, `card_precision_top_k`.
    """
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    y, s = _binary(labels, scores)
    numbers, entity_of = np.unique(np.asarray(entities), return_inverse=True)
    if not len(y) == len(entity_of) == len(days) > 0:
        raise ValueError(
            f"expected equally many rows, got {len(y)} labels, {len(entity_of)} entities and"
            f" {len(days)} days"
        )
    found = np.zeros(len(numbers), dtype=bool)
    precisions = []
    for day in np.unique(days):
        rows = np.flatnonzero((days == day) & ~found[entity_of])
        score = np.full(len(numbers), -np.inf)
        np.maximum.at(score, entity_of[rows], s[rows])
        compromised = np.zeros(len(numbers), dtype=bool)
        compromised[entity_of[rows[y[rows] == 1]]] = True
        # Equal scores go in the entities' order, so that the rows' order does not change the
        # result.
        checked = np.argsort(-score, kind="stable")[:k]
        checked = checked[np.isfinite(score[checked])]
        precisions.append(np.count_nonzero(compromised[checked]) / k)
        found[checked[compromised[checked]]] = True
    return float(np.mean(precisions))


def _counts_by_threshold(
    labels: Array, scores: Array, weights: Array | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return distinct scores, highest first, with the positives and negatives at or above each.

    Both are sums of weights.
    """
    y, s = _binary(labels, scores)
    positives = int(np.count_nonzero(y))
    if positives in (0, len(y)):
        raise ValueError(f"needs both classes, got {positives} positives in {len(y)} rows")
    order = np.argsort(-s, kind="stable")
    s, y, each = s[order], y[order], _each(weights, len(y))[order]
    last_of_group = np.append(np.flatnonzero(np.diff(s)), len(s) - 1)
    true_positives = np.cumsum(y * each)[last_of_group]
    false_positives = np.cumsum((1 - y) * each)[last_of_group]
    return s[last_of_group], true_positives, false_positives


def _each(weights: Array | None, rows: int) -> npt.NDArray[np.float64]:
    if weights is None:
        return np.ones(rows)
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != (rows,) or not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f"expected {rows} weights above 0, got shape {found.shape}")
    return found


def _binary(labels: Array, scores: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if y.ndim != 1 or y.shape != s.shape:
        raise ValueError(
            f"labels and scores must have the same shape (rows,), got {y.shape} and {s.shape}"
        )
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, got {np.setdiff1d(y, (0, 1))[:3].tolist()}")
    if not np.isfinite(s).all():
        raise ValueError(
            f"scores must be finite, {np.count_nonzero(~np.isfinite(s))} of {len(s)} are not"
        )
    return y.astype(np.int64), s


def _probabilities(
    labels: Array, probabilities: Array
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    y, p = _binary(labels, probabilities)
    if not len(y):
        raise ValueError("needs at least one row")
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"probabilities must lie in [0, 1], got [{p.min():g}, {p.max():g}]")
    return y, p


def _require_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be a fraction in (0, 1), got {value}")
