"""Means of clustered values and their errors.

One customer has many rows that resemble each other. Unequal weights cost precision too.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of clustered values.

    Attributes:
        value: The mean, in the values' unit.
        effective: Number of independent values giving the same precision. At most the number of
            values.
    """

    value: float
    effective: float


def clustered_mean(
    values: npt.NDArray[np.float64],
    clusters: npt.NDArray[Any],
    weights: npt.NDArray[np.float64] | None = None,
) -> Mean:
    """Return the mean of a group.

    The design effect is never taken below 1. Clusters that differ less than chance do so by chance.

    Args:
        values: Shape (rows,).
        clusters: The cluster of each row, shape (rows,).
        weights: Number of like rows that each row stands for, > 0, shape (rows,). None is 1 for
            each.

    Raises:
        ValueError: The shapes differ, or there are no rows.

    Source: Linearised variance of a ratio, Cochran, Sampling Techniques (1977), 6.4. Kish, Survey
    Sampling (1965), for the effective number of weighted rows.
    """
    if values.shape != clusters.shape or not len(values):
        raise ValueError(
            f"expected one cluster per value, got {values.shape} values and {clusters.shape}"
            " clusters"
        )
    each = np.ones(len(values)) if weights is None else weights
    total, mean = float(each.sum()), float(np.average(values, weights=each))
    _, number = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(number, weights=each)
    spread = weighted_variance(values, each)
    if len(sizes) == 1 or not spread:
        # The spread between clusters is unknown, so the values of one cluster count as one value.
        return Mean(mean, total**2 / float(np.sum(sizes**2)))
    beyond = np.bincount(number, weights=each * (values - mean))
    variance = len(sizes) / (len(sizes) - 1) * float(np.sum(beyond**2)) / total**2
    rows = total**2 / float(np.dot(each, each))
    return Mean(mean, rows / max(1.0, variance / (spread / rows)))


def weighted_variance(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    """Return the variance of a weighted sample, in the values' unit squared.

    Args:
        values: Shape (rows,), at least one.
        weights: > 0, shape (rows,).
    """
    mean = np.average(values, weights=weights)
    return float(np.average((values - mean) ** 2, weights=weights))


def two_sided_z(level: float) -> float:
    """Return the two-sided z of a level.

    A normal figure lies more than z standard errors from its mean with probability `level`, in (0,
    1).
    """
    return NormalDist().inv_cdf(1 - level / 2)
