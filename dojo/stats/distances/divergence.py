"""How far two binned distributions are apart: from counts alone, so hours can be added up first.

Arguments `reference` and `current` are counts over the same bins, shape (bins,). Binning costs: a change within one bin is invisible to all of
these, so each is at most what the raw samples would give (for KL and Jensen-Shannon: data processing inequality), except Wasserstein's, which is off
by at most what it says. PSI is in `binning`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.integer]
Shares = npt.NDArray[np.float64]


def kullback_leibler(reference: Counts, current: Counts) -> float:
    """KL(current || reference) in nats: the surprise per row of someone who expects the reference. >= 0, not symmetric.

    Empty bins get half a count, as in PSI; PSI is this plus the same with the sides exchanged.

    Raises:
        ValueError: shapes differ, or either holds no rows.

    Source: Kullback and Leibler, On Information and Sufficiency (1951).
    """
    r, c = _shares(reference, current, empty=0.5)
    return max(0.0, float(np.sum(c * np.log(c / r))))


def jensen_shannon(reference: Counts, current: Counts) -> float:
    """Jensen-Shannon divergence in bits (base 2): 0 for the same shares, 1 for no bin in common. Symmetric.

    Its square root is the Jensen-Shannon *distance*, which SciPy and Evidently report (in nats unless told: times sqrt(ln 2)).

    Raises:
        ValueError: shapes differ, or either holds no rows.

    Source: Lin, Divergence Measures Based on the Shannon Entropy (1991).
    """
    r, c = _shares(reference, current)
    middle = (r + c) / 2
    total = sum(float(np.sum(side[side > 0] * np.log2(side[side > 0] / middle[side > 0]))) for side in (r, c))
    return min(1.0, max(0.0, total / 2))


def ks_bounds(reference: Counts, current: Counts) -> tuple[float, float]:
    """Between which the Kolmogorov-Smirnov statistic of the raw samples lies.

    At the edges both distribution functions are known exactly; between two edges each runs somewhere between its values there. With bins of a
    share of 1/1000 the two differ by about 1/1000.

    Args:
        reference, current: counts over *ordered* bins.

    Returns:
        (lowest, highest), in [0, 1].

    Raises:
        ValueError: shapes differ, or either holds no rows.
    """
    r, c = _shares(reference, current)
    upto_r, upto_c = np.cumsum(r), np.cumsum(c)
    before_r, before_c = upto_r - r, upto_c - c
    highest = max(float(np.max(upto_c - before_r)), float(np.max(upto_r - before_c)))
    return float(np.max(np.abs(upto_c - upto_r))), min(1.0, highest)


def wasserstein_of_counts(
    reference: Counts, current: Counts, edges: npt.NDArray[np.float64], low: float, high: float
) -> tuple[float, float]:
    """Wasserstein-1 distance with the rows of each bin spread evenly over it, and how far it can be from that of the raw samples.

    Args:
        edges: inner edges, shape (bins - 1,). low, high: the outer bins' open ends, to be taken from the smallest and largest value of both
            sides (`Histogram.minimum`, `maximum`); low <= edges[0], high >= edges[-1].

    Returns:
        (distance, largest error), in the values' unit. The error: no row of either side moves further than its bin is wide.

    Raises:
        ValueError: shapes differ, either holds no rows, or the ends lie inside the edges.
    """
    r, c = _shares(reference, current)
    bounds = np.concatenate([[low], edges, [high]])
    if len(bounds) != len(r) + 1 or (np.diff(bounds) < 0).any():
        raise ValueError(f"expected {len(r) - 1} edges between low and high, got {len(edges)} from {low} to {high}")
    width = np.diff(bounds)
    ahead = np.concatenate([[0.0], np.cumsum(c - r)])
    start, end = ahead[:-1], ahead[1:]
    # The difference of the two functions is linear within a bin: the area of a trapezium, or of two triangles where it changes sign.
    crossing = start * end < 0
    spread = np.where(crossing, np.abs(start - end), 1.0)
    area = np.where(crossing, (start**2 + end**2) / (2 * spread), (np.abs(start) + np.abs(end)) / 2)
    return float(np.sum(area * width)), float(np.sum((r + c) * width))


def _shares(reference: Counts, current: Counts, empty: float = 0.0) -> tuple[Shares, Shares]:
    """Both as shares, empty bins counted as `empty` rows."""
    if reference.shape != current.shape or reference.ndim != 1:
        raise ValueError(f"needs the same bins, got shapes {reference.shape} and {current.shape}")
    if reference.sum() <= 0 or current.sum() <= 0:
        raise ValueError(f"needs rows on both sides, got {reference.sum()} and {current.sum()}")
    r, c = np.maximum(reference, empty).astype(np.float64), np.maximum(current, empty).astype(np.float64)
    return r / r.sum(), c / c.sum()
