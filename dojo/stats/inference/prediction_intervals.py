"""Prediction intervals by split conformal prediction, and how good intervals are.

The residuals of rows that a model has not learned from say how far its next errors lie. The
intervals cover the promised share of new rows if these are exchangeable with the first ones. No
other assumption about model or errors is needed.

Sources: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005). Lei et al.,
Distribution-Free Predictive Inference for Regression (2018). Romano, Patterson and Candes,
Conformalized Quantile Regression (2019), for ends that are calibrated each by itself.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Decimals of a rank. 0.05 times 20 must not become 0.999... and lose a row.
_DECIMALS = 9


def rows_needed(coverage: float) -> int:
    """Return the least rows that give an interval of this coverage, a fraction in (0, 1)."""
    return math.ceil(round(2 / (1 - coverage), _DECIMALS)) - 1


def conformal_offsets(residuals: Array, coverage: float) -> tuple[float, float]:
    """Return the two residuals between which a new one lies with the promised probability.

    With k = floor((rows + 1) * (1 - coverage) / 2), they are the k-th smallest and the k-th
    largest. A new residual is equally likely to have each of rows + 1 ranks. So it lies between
    the two, ends included, with probability >= coverage.

    Args:
        residuals: Label minus prediction of each row, in any unit, shape (rows,).
        coverage: The promised probability, in (0, 1).

    Raises:
        ValueError: There are fewer rows than `rows_needed`.
    """
    rows = len(residuals)
    rank = math.floor(round((rows + 1) * (1 - coverage) / 2, _DECIMALS))
    if rank < 1:
        raise ValueError(
            f"a coverage of {coverage:g} needs {rows_needed(coverage)} rows, there are {rows}"
        )
    ordered = np.sort(residuals)
    return float(ordered[rank - 1]), float(ordered[rows - rank])


def inside(labels: Array, low: Array, high: Array) -> npt.NDArray[np.bool_]:
    """Return which labels lie between their two ends, ends included. All shapes (rows,)."""
    found: npt.NDArray[np.bool_] = (low <= labels) & (labels <= high)
    return found


def pinball_losses(labels: Array, ends: Array, level: float) -> Array:
    """Return each row's pinball loss of a predicted quantile, in the labels' unit, >= 0.

    The mean is smallest for the true quantile. So it judges width and coverage together.

    Args:
        labels: Shape (rows,).
        ends: The predicted quantile of each row, shape (rows,).
        level: Share of labels that should lie below it, in (0, 1).

    Source: Koenker and Bassett, Regression Quantiles (1978).
    """
    above = labels - ends
    losses: Array = np.maximum(level * above, (level - 1) * above)
    return losses
