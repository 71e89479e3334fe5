"""From scores to probabilities: the holdout's own fraud rate at each score, made monotone.

A model's score of 0.8 need not mean 8 positives in 10. Its meaning on the holdout is known. The
best increasing step function through it (isotonic regression) translates scores until labels
arrive. With few positives it is rough at the top.

Sources: Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability
Estimates (2002). Ayer et al. (1955), for the algorithm (pool adjacent violators).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating] | npt.NDArray[np.integer]


def isotonic_rates(positives: Numbers, rows: Numbers) -> npt.NDArray[np.float64]:
    """Return the best-fitting non-decreasing rates (least squares, weighted by rows), one per bin.

    Args:
        positives: Positives per bin in increasing order of the score, shape (bins,), <= rows.
        rows: Rows per bin in the same order, shape (bins,). A bin without rows takes the rate of
            the nearest lower filled bin. If there is none, it takes the first filled bin's rate.

    Raises:
        ValueError: The shapes differ, positives exceed rows, or there are no rows at all.
    """
    y, n = np.asarray(positives, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    if y.shape != n.shape or y.ndim != 1 or (y < 0).any() or (y > n).any():
        raise ValueError(
            f"expected 0 <= positives <= rows of one shape (bins,), got shapes {y.shape} and"
            f" {n.shape}"
        )
    filled = np.flatnonzero(n)
    if not len(filled):
        raise ValueError("needs rows, got none")
    blocks: list[tuple[float, float, int]] = []  # positives, rows, bins
    for at in filled:
        block = (float(y[at]), float(n[at]), 1)
        # A block must have a higher rate than the block before it. Otherwise the two become one.
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    rates = np.concatenate([np.full(bins, positive / total) for positive, total, bins in blocks])
    return rates[np.maximum(np.searchsorted(filled, np.arange(len(n)), side="right") - 1, 0)]
