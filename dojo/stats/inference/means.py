"""Means and their errors: values come in clusters, because one customer has many rows that resemble each other."""

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
        value: In the values' unit.
        effective: Independent values that would know the mean as well. At most the number of values.
    """

    value: float
    effective: float


def clustered_mean(values: npt.NDArray[np.float64], clusters: npt.NDArray[Any]) -> Mean:
    """The mean of a group.

    Args:
        values: Shape (rows,).
        clusters: The cluster of each row, shape (rows,).

    Raises:
        ValueError: The shapes differ, or there are no rows.

    Source: linearised variance of a ratio, Cochran, Sampling Techniques (1977), 6.4. The design effect is never taken below 1:
    that clusters differ less than chance is chance itself.
    """
    if values.shape != clusters.shape or not len(values):
        raise ValueError(f"expected one cluster per value, got {values.shape} values and {clusters.shape} clusters")
    rows, mean = len(values), float(values.mean())
    _, number = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(number)
    spread = float(np.var(values))
    if len(sizes) == 1 or not spread:
        # No spread to be seen: as if the values of one cluster were all the same one.
        return Mean(mean, rows**2 / float(np.sum(sizes**2)))
    beyond = np.bincount(number, weights=values - mean)
    variance = len(sizes) / (len(sizes) - 1) * float(np.sum(beyond**2)) / rows**2
    return Mean(mean, rows / max(1.0, variance / (spread / rows)))


def two_sided_z(level: float) -> float:
    """Standard errors beyond which a normal figure lies with probability `level`, both ways together. level: in (0, 1)."""
    return NormalDist().inv_cdf(1 - level / 2)
