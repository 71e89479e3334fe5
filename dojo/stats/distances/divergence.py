"""How far two binned distributions are apart, from counts alone.

Hours can therefore be added first.

Arguments `reference` and `current` are counts over the same bins, shape (bins,). Binning costs
precision, because a change within one bin is invisible to all of these measures. Each is therefore
at most its value on the raw samples. For KL and Jensen-Shannon this is the data processing
inequality. Wasserstein is the exception and states its own largest error. PSI is in `binning`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.integer]
Shares = npt.NDArray[np.float64]


def kullback_leibler(reference: Counts, current: Counts) -> float:
    """Return KL(current || reference) in nats, >= 0. It is not symmetric.

    It is the mean surprise per row for an observer expecting the reference. Empty bins get half a
    count, as in PSI. PSI is this value plus the same with the sides exchanged.

    Raises:
        ValueError: The shapes differ, or a side holds no rows.

    Source: Kullback and Leibler, On Information and Sufficiency (1951).
    """
    r, c = _shares(reference, current, empty=0.5)
    return max(0.0, float(np.sum(c * np.log(c / r))))


def jensen_shannon(reference: Counts, current: Counts) -> float:
    """Return the Jensen-Shannon divergence in bits (base 2). It is symmetric.

    0 means equal shares, and 1 means no bin in common. Its square root is the Jensen-Shannon
    *distance*, reported by SciPy and Evidently. Their default unit is nats, so multiply the
    distance by sqrt(ln 2).

    Raises:
        ValueError: The shapes differ, or a side holds no rows.

    Source: Lin, Divergence Measures Based on the Shannon Entropy (1991).
    """
    r, c = _shares(reference, current)
    middle = (r + c) / 2
    total = sum(
        float(np.sum(side[side > 0] * np.log2(side[side > 0] / middle[side > 0])))
        for side in (r, c)
    )
    return min(1.0, max(0.0, total / 2))


def ks_bounds(reference: Counts, current: Counts) -> tuple[float, float]:
    """Return bounds on the Kolmogorov-Smirnov statistic of the raw samples.

    At the edges both distribution functions are known exactly. Between two edges each function runs
    between its values there. With bins of a share of 1/1000 the two bounds differ by about 1/1000.

    Args:
        reference: Counts over *ordered* bins.
        current: Counts over the same bins.

    Returns:
        (lowest, highest), in [0, 1].

    Raises:
        ValueError: The shapes differ, or a side holds no rows.
    """
    r, c = _shares(reference, current)
    upto_r, upto_c = np.cumsum(r), np.cumsum(c)
    before_r, before_c = upto_r - r, upto_c - c
    highest = max(float(np.max(upto_c - before_r)), float(np.max(upto_r - before_c)))
    return float(np.max(np.abs(upto_c - upto_r))), min(1.0, highest)


def wasserstein_of_counts(
    reference: Counts, current: Counts, edges: npt.NDArray[np.float64], low: float, high: float
) -> tuple[float, float]:
    """Return the Wasserstein-1 distance of two binned distributions and its largest error.

    The rows of each bin count as spread evenly over it.

    Args:
        reference: Counts per bin, shape (bins,).
        current: Counts per bin, same bins.
        edges: Inner edges, shape (bins - 1,).
        low: Lower end of the first bin, <= edges[0]. Take the smallest value of both sides
            (`Histogram.minimum`).
        high: Upper end of the last bin, >= edges[-1]. Take the largest value of both sides
            (`Histogram.maximum`).

    Returns:
        (distance, largest error to the raw samples' distance), in the values' unit. The error
        assumes that each row of both sides moves by its bin's width.

    Raises:
        ValueError: The shapes differ, a side holds no rows, or an end lies inside the edges.
    """
    r, c = _shares(reference, current)
    bounds = np.concatenate([[low], edges, [high]])
    if len(bounds) != len(r) + 1 or (np.diff(bounds) < 0).any():
        raise ValueError(
            f"expected {len(r) - 1} edges between low and high, got {len(edges)} from {low} to"
            f" {high}"
        )
    width = np.diff(bounds)
    ahead = np.concatenate([[0.0], np.cumsum(c - r)])
    start, end = ahead[:-1], ahead[1:]
    # Within a bin the difference of the two functions is linear. Its area is a trapezium, or two
    # triangles where the sign changes.
    crossing = start * end < 0
    spread = np.where(crossing, np.abs(start - end), 1.0)
    area = np.where(crossing, (start**2 + end**2) / (2 * spread), (np.abs(start) + np.abs(end)) / 2)
    return float(np.sum(area * width)), float(np.sum((r + c) * width))


def _shares(reference: Counts, current: Counts, empty: float = 0.0) -> tuple[Shares, Shares]:
    """Return both sides as shares. An empty bin counts as `empty` rows."""
    if reference.shape != current.shape or reference.ndim != 1:
        raise ValueError(f"needs the same bins, got shapes {reference.shape} and {current.shape}")
    if reference.sum() <= 0 or current.sum() <= 0:
        raise ValueError(f"needs rows on both sides, got {reference.sum()} and {current.sum()}")
    r, c = (
        np.maximum(reference, empty).astype(np.float64),
        np.maximum(current, empty).astype(np.float64),
    )
    return r / r.sum(), c / c.sum()
