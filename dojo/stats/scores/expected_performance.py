"""Performance before labels arrive, from the scores alone (confidence-based performance estimation, CBPE).

If a score of 0.8 means positive in 8 of 10 cases, then ten rows scored 0.8 hold about eight positives. What a ranking by score finds of them
can be counted before a single label comes. That premise, calibration, is also the limit:

- Concept drift is invisible. When the world changes its pattern, the model keeps its opinion, and this estimate is the model's opinion of itself.
  It sees a change of the *inputs* that makes the model less sure. Only labels see the rest.
- Miscalibration goes straight into the estimate. Scores become probabilities by the rates of rows with known labels (`calibration`).
- It is an expectation. A window with few positives realises far from it.

Source: NannyML, Confidence-based Performance Estimation (documentation, 2022); Garg et al., Leveraging Unlabeled Data to Predict Out-of-Distribution
Performance (2022), for when it can and cannot work.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

_GAMMA = 0.5772156649015329  # Euler and Mascheroni's, of the harmonic numbers


def expected_average_precision(counts: Integers, probabilities: Floats) -> float:
    """Return the PR-AUC (`classification.pr_auc`) that binned scores promise.

    Args:
        counts: Rows per bin, in order of the score, shape (bins,). Rows within a bin are in random order.
        probabilities: Of a positive, per bin, shape (bins,).

    Returns:
        In (0, 1], NaN where no positive is expected.

    Raises:
        ValueError: Shapes differ, a count is negative, or a probability is outside [0, 1] or not finite.

    With N rows and C expected positives above a bin of n rows, its j-th row is positive with probability p. It then has precision
    (C + (j - 1) p + 1) / (N + j), which is p + (C + 1 - (N + 1) p) / (N + j). Over j = 1 to n that is a difference of harmonic numbers.
    """
    n, p = np.asarray(counts)[::-1], np.asarray(probabilities, dtype=np.float64)[::-1]
    if n.ndim != 1 or n.shape != p.shape or (n < 0).any():
        raise ValueError(f"expected counts >= 0 and as many probabilities, got shapes {n.shape} and {p.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"probabilities must lie in [0, 1], got {p[~((p >= 0) & (p <= 1))][:3]}")
    rows, found = np.cumsum(n).astype(np.float64), np.cumsum(n * p)
    above, found_above = rows - n, found - n * p
    ranks = _harmonic(rows) - _harmonic(above)
    area = float(np.sum(p * (n * p + (found_above + 1 - (above + 1) * p) * ranks)))
    positives = float(np.sum(n * p))
    return area / positives if positives > 0 else math.nan


def _harmonic(n: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 + 1/2 + ... + 1/n, to 1e-3 / n^4 of relative error from the asymptotic series; 0 for n = 0."""
    m = np.maximum(n, 1.0)
    series = np.log(m) + _GAMMA + 1 / (2 * m) - 1 / (12 * m**2) + 1 / (120 * m**4) - 1 / (252 * m**6)
    exact = np.array([0.0, 1.0, 1.5, 11 / 6, 25 / 12])
    return np.where(n < len(exact), exact[np.minimum(n, len(exact) - 1).astype(np.int64)], series)
