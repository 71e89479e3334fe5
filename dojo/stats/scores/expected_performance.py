"""Performance before labels arrive, from the scores alone (confidence-based estimation, CBPE).

A score of 0.8 may mean positive in 8 of 10 cases. Then ten rows scored 0.8 hold about eight
positives. The estimate counts how many of them a ranking by score finds, before any label arrives.
This premise is calibration, and it is also the limit:

- Concept drift is invisible. When the world changes its pattern, the model keeps its opinion. This
  estimate is the model's opinion of itself. It sees *input* changes that make the model less sure.
  Only labels see the rest.
- Miscalibration goes straight into the estimate. Rates of rows with known labels turn scores into
  probabilities (`calibration`).
- It is an expectation. A window with few positives realises far from it.

Sources: NannyML, Confidence-based Performance Estimation (documentation, 2022). Garg et al.,
Leveraging Unlabeled Data to Predict Out-of-Distribution Performance (2022), for its limits.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

_GAMMA = 0.5772156649015329  # the Euler-Mascheroni constant of the harmonic numbers


def expected_average_precision(counts: Integers, probabilities: Floats) -> float:
    """Return the PR-AUC (`classification.pr_auc`) expected from binned scores.

    Take a bin of n rows with N rows and C expected positives above it. Its j-th row is positive
    with probability p. Its precision is then (C + (j - 1) p + 1) / (N + j). This equals p + (C + 1
    - (N + 1) p) / (N + j). Its sum over j = 1 to n is a difference of harmonic numbers.

    Args:
        counts: Rows per bin, in order of the score, shape (bins,). Rows within a bin are in random
            order.
        probabilities: Probability of a positive per bin, shape (bins,).

    Returns:
        In (0, 1]. NaN where no positive is expected.

    Raises:
        ValueError: The shapes differ, a count is negative, or a probability is not in [0, 1].
    """
    n, p = np.asarray(counts)[::-1], np.asarray(probabilities, dtype=np.float64)[::-1]
    if n.ndim != 1 or n.shape != p.shape or (n < 0).any():
        raise ValueError(
            f"expected counts >= 0 and as many probabilities, got shapes {n.shape} and {p.shape}"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"probabilities must lie in [0, 1], got {p[~((p >= 0) & (p <= 1))][:3]}")
    rows, found = np.cumsum(n).astype(np.float64), np.cumsum(n * p)
    above, found_above = rows - n, found - n * p
    ranks = _harmonic(rows) - _harmonic(above)
    area = float(np.sum(p * (n * p + (found_above + 1 - (above + 1) * p) * ranks)))
    positives = float(np.sum(n * p))
    return area / positives if positives > 0 else math.nan


def _harmonic(n: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return 1 + 1/2 + ... + 1/n from the asymptotic series, and 0 for n = 0.

    The relative error is 1e-3 / n^4.
    """
    m = np.maximum(n, 1.0)
    series = (
        np.log(m) + _GAMMA + 1 / (2 * m) - 1 / (12 * m**2) + 1 / (120 * m**4) - 1 / (252 * m**6)
    )
    exact = np.array([0.0, 1.0, 1.5, 11 / 6, 25 / 12])
    return np.where(n < len(exact), exact[np.minimum(n, len(exact) - 1).astype(np.int64)], series)
