"""Performance before labels arrive, from the scores alone (confidence-based performance estimation, CBPE).

If a score of 0.8 means fraud in 8 of 10 cases, then ten payments scored 0.8 hold about eight frauds, and what a threshold catches of them can be
counted before a single chargeback comes. That premise, calibration, is also the limit:

- Concept drift is invisible. When fraudsters change their pattern, the model keeps its opinion, and this estimate is the model's opinion of itself.
  It sees a change of the *inputs* that makes the model less sure. Only labels see the rest.
- Miscalibration goes straight into the estimate. Check it on the holdout (`classification.expected_calibration_error`), and turn scores into
  probabilities with the holdout's own rates (`calibration`) when it is not small.
- It is an expectation. Few frauds realise far from it: `Expected.recall_std` says how far.

Source: NannyML, Confidence-based Performance Estimation (documentation, 2022); Garg et al., Leveraging Unlabeled Data to Predict Out-of-Distribution
Performance (2022), for when it can and cannot work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

_GAMMA = 0.5772156649015329  # Euler and Mascheroni's, of the harmonic numbers


@dataclass(frozen=True, slots=True)
class Expected:
    """What labels would say of a window at one threshold, in expectation. A rate without denominator is NaN.

    Attributes:
        rows, flagged: counted. positives: expected number of frauds.
        precision, recall, false_positive_rate: ratios of expected counts.
        recall_std: standard deviation of the recall that the labels will realise, when the scores are right.
        pr_auc: as `classification.pr_auc`.
    """

    rows: int
    flagged: int
    positives: float
    precision: float
    recall: float
    false_positive_rate: float
    recall_std: float
    pr_auc: float


def expected_performance(probabilities: Floats, threshold: float, scores: Floats | None = None) -> Expected:
    """From raw rows.

    Args:
        probabilities: calibrated, in [0, 1], shape (rows,).
        threshold: what scores at or above it are flagged.
        scores: what rows are ranked and flagged by; the probabilities themselves by default.

    Raises:
        ValueError: shapes differ, or a probability is outside [0, 1] or not finite.
    """
    p = _probabilities(probabilities)
    s = p if scores is None else np.asarray(scores, dtype=np.float64)
    if s.shape != p.shape:
        raise ValueError(f"expected as many scores as probabilities, got shapes {s.shape} and {p.shape}")
    order = np.argsort(-s, kind="stable")
    p, s = p[order], s[order]
    ends = np.append(np.flatnonzero(np.diff(s)), len(s) - 1) if len(s) else np.array([], dtype=np.int64)
    group = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    # A fraud's precision counts itself for certain, and all others as far as they are likely: those up to the last one of equal score.
    expected_upto = np.cumsum(p)[ends][group] + 1 - p
    area = float(np.sum(p * expected_upto / (ends + 1)[group]))
    flagged = int(np.count_nonzero(s >= threshold))
    spread = float(np.sum(p[:flagged] * (1 - p[:flagged]))), float(np.sum(p[flagged:] * (1 - p[flagged:])))
    return _expected(len(p), flagged, float(p[:flagged].sum()), float(p.sum()), spread, area)


def expected_performance_of_counts(counts: Integers, probabilities: Floats, first_flagged: int) -> Expected:
    """From binned rows: bins in order of the score, rows within one in random order.

    Args:
        counts: shape (bins,). probabilities: of a fraud per bin: its mean score, or what the holdout says (`calibration`), shape (bins,).
        first_flagged: the first bin that is flagged; all after it are.

    Raises:
        ValueError: shapes differ, a count is negative, or a probability is outside [0, 1].
    """
    n, p = np.asarray(counts), _probabilities(probabilities)
    if n.shape != p.shape or (n < 0).any():
        raise ValueError(f"expected counts >= 0 and as many probabilities, got shapes {n.shape} and {p.shape}")
    caught, positives = float(n[first_flagged:] @ p[first_flagged:]), float(n @ p)
    variance = n * p * (1 - p)
    spread = float(variance[first_flagged:].sum()), float(variance[:first_flagged].sum())
    area = float(_pr_area(n[None, ::-1].astype(np.float64), p[::-1])[0])
    return _expected(int(n.sum()), int(n[first_flagged:].sum()), caught, positives, spread, area)


def _pr_area(counts: npt.NDArray[np.float64], p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Expected PR-AUC times the expected positives, shape (draws,).

    Args:
        counts: rows per bin from the highest score on, shape (draws, bins). p: probability per bin, shape (bins,).

    With N rows and C expected frauds above a bin of n rows, its j-th row is a fraud with probability p and then has precision (C + (j - 1) p + 1) /
    (N + j), which is p + (C + 1 - (N + 1) p) / (N + j). Over j = 1 to n that is a difference of harmonic numbers.
    """
    above = np.cumsum(counts, axis=1) - counts
    frauds_above = np.cumsum(counts * p, axis=1) - counts * p
    ranks = _harmonic(above + counts) - _harmonic(above)
    area: npt.NDArray[np.float64] = np.sum(p * (counts * p + (frauds_above + 1 - (above + 1) * p) * ranks), axis=1)
    return area


def _harmonic(n: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 + 1/2 + ... + 1/n, to 1e-3 / n^4 of relative error from the asymptotic series; 0 for n = 0."""
    m = np.maximum(n, 1.0)
    series = np.log(m) + _GAMMA + 1 / (2 * m) - 1 / (12 * m**2) + 1 / (120 * m**4) - 1 / (252 * m**6)
    exact = np.array([0.0, 1.0, 1.5, 11 / 6, 25 / 12])
    return np.where(n < len(exact), exact[np.minimum(n, len(exact) - 1).astype(np.int64)], series)


def _expected(rows: int, flagged: int, caught: float, positives: float, spread: tuple[float, float], area: float) -> Expected:
    """Args: spread: variance of the number of frauds among the flagged and among the others."""

    def ratio(numerator: float, denominator: float) -> float:
        return numerator / denominator if denominator > 0 else math.nan

    missed = positives - caught
    # Delta method for caught / (caught + missed), which vary independently.
    recall_variance = ratio(missed**2 * spread[0] + caught**2 * spread[1], positives**4)
    return Expected(
        rows=rows,
        flagged=flagged,
        positives=positives,
        precision=ratio(caught, flagged),
        recall=ratio(caught, positives),
        false_positive_rate=ratio(flagged - caught, rows - positives),
        recall_std=math.sqrt(recall_variance) if recall_variance >= 0 else math.nan,
        pr_auc=ratio(area, positives),
    )


def _probabilities(values: Floats) -> npt.NDArray[np.float64]:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"probabilities must have shape (rows,) and lie in [0, 1], got shape {p.shape}, {p[~((p >= 0) & (p <= 1))][:3]}"
        )
    return p
