"""Distributions as counts over fixed bins.

Reference profiles store them, and drift is measured on them.

Bins are cut once, at the reference's quantiles. Their outer ends are open, as in (-inf, e1],
(e1, e2], ..., (en, inf). Edges that move with the data hide drift. In FACTS, one outlier made
equal-width bins blind.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def quantile_edges(values: Floats, bins: int = 10) -> npt.NDArray[np.float64]:
    """Return the inner edges that cut `values` into up to `bins` bins of about equal counts.

    Repeated values give fewer and unequal bins. Each bin still holds reference rows, except for a
    constant. A constant is its own only edge, so any larger value shows.

    Returns:
        Strictly increasing edges, shape (at most bins - 1,), at least one.

    Raises:
        ValueError: There are no rows, a value is not finite, or bins < 2.
    """
    if bins < 2:
        raise ValueError(f"bins must be >= 2, got {bins}")
    v = _finite(values)
    # "lower" takes values from the data. An edge between two values of a discrete feature would
    # mean nothing.
    edges = np.unique(np.quantile(v, np.arange(1, bins) / bins, method="lower"))
    below_maximum = edges[edges < v.max()]
    return below_maximum if len(below_maximum) else _edge_of_few_large(v)


def bin_counts(values: Floats, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the rows per bin, shape (len(edges) + 1,).

    Raises:
        ValueError: A value is not finite.
    """
    v = _finite(values, allow_empty=True)
    return np.bincount(np.searchsorted(edges, v, side="left"), minlength=len(edges) + 1)


def population_stability_index(
    reference: npt.NDArray[np.integer], current: npt.NDArray[np.integer]
) -> float:
    """Return the PSI of two binned distributions.

    Args:
        reference: Counts per bin, shape (bins,). Empty bins get half a count.
        current: Counts per bin, same bins. Empty bins get half a count.

    Returns:
        Sum over bins of (c - r) * ln(c / r), dimensionless, >= 0. Without any drift it is about
        (bins - 1) * (1 / reference rows + 1 / current rows).

    Raises:
        ValueError: The shapes differ, or a side holds no rows.

    Source: Siddiqi, Credit Risk Scorecards (2006).
    """
    if reference.shape != current.shape or reference.ndim != 1:
        raise ValueError(f"needs the same bins, got shapes {reference.shape} and {current.shape}")
    if reference.sum() <= 0 or current.sum() <= 0:
        raise ValueError(f"needs rows on both sides, got {reference.sum()} and {current.sum()}")
    r, c = np.maximum(reference, 0.5), np.maximum(current, 0.5)
    r, c = r / r.sum(), c / c.sum()
    return float(np.sum((c - r) * np.log(c / r)))


def information_value(values: Floats, labels: npt.NDArray[np.integer], bins: int = 10) -> float:
    """Return how far one column alone tells two classes apart, as PSI between both classes.

    Args:
        values: Shape (rows,).
        labels: 0 or 1, shape (rows,).
        bins: Number of bins. They are cut at the quantiles of all values.

    Returns:
        Dimensionless, >= 0. 0.3 is a strong predictor of credit default. Above 0.5 Siddiqi suspects
        the predictor.

    Raises:
        ValueError: One class is missing, or a value is not finite.

    Source: Siddiqi, Credit Risk Scorecards (2006).
    Kaufman et al., Leakage in Data Mining (2012), for a search of leaking columns by it.
    """
    edges = quantile_edges(values, bins)
    return population_stability_index(
        bin_counts(values[labels == 0], edges), bin_counts(values[labels == 1], edges)
    )


def correlation_ratio(values: Floats, labels: Floats, bins: int = 10) -> float:
    """Return how far one column alone explains a number (eta squared).

    It is the share of the labels' variance between the column's bins.

    Args:
        values: Shape (rows,).
        labels: Shape (rows,).
        bins: Number of bins. They are cut at the quantiles of all values.

    Returns:
        Dimensionless, in [0, 1]. 0 when all labels are equal.

    Raises:
        ValueError: A value or label is not finite, or the shapes differ.

    Source: Pearson, On the General Theory of Skew Correlation and Non-linear Regression (1905).
    """
    y = _finite(labels)
    if values.shape != labels.shape:
        raise ValueError(f"expected one label per value, got {values.shape} and {labels.shape}")
    bin_of = np.searchsorted(
        quantile_edges(values, bins), np.asarray(values, dtype=np.float64), side="left"
    )
    rows = np.bincount(bin_of)
    means = np.bincount(bin_of, weights=y) / np.maximum(rows, 1)
    total = float(np.sum((y - y.mean()) ** 2))
    return float(np.sum(rows * (means - y.mean()) ** 2)) / total if total else 0.0


def _edge_of_few_large(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return one edge just below the maximum, so that the few smaller values have their own bin.

    For values mostly equal to their maximum.
    """
    below = v[v < v.max()]
    return np.array([below.max() if len(below) else v.max()])


def _finite(values: Floats, allow_empty: bool = False) -> npt.NDArray[np.float64]:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1 or (not allow_empty and not len(v)):
        raise ValueError(f"needs rows of shape (rows,), got {v.shape}")
    if not np.isfinite(v).all():
        raise ValueError(
            f"values must be finite, {np.count_nonzero(~np.isfinite(v))} of {len(v)} are not"
        )
    return v
