"""From scores to probabilities: the holdout's own fraud rate at each score, made monotone.

A model's score of 0.8 need not mean 8 positives in 10. What it meant on the holdout is known; the best increasing step function through it (isotonic
regression) is what scores are to be read as until labels say otherwise. With few positives it is rough at the top.

Source: Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates (2002); Ayer et al. (1955) for the algorithm
(pool adjacent violators).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating] | npt.NDArray[np.integer]


def isotonic_rates(positives: Numbers, rows: Numbers) -> npt.NDArray[np.float64]:
    """The non-decreasing rates that fit best (least squares, weighted by rows), one per bin.

    Args:
        positives, rows: per bin in increasing order of the score, shape (bins,), 0 <= positives <= rows. Bins without rows take the nearest
            lower filled bin's rate, or the first filled one's.

    Raises:
        ValueError: shapes differ, positives exceed rows, or there are no rows at all.
    """
    y, n = np.asarray(positives, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    if y.shape != n.shape or y.ndim != 1 or (y < 0).any() or (y > n).any():
        raise ValueError(f"expected 0 <= positives <= rows of one shape (bins,), got shapes {y.shape} and {n.shape}")
    filled = np.flatnonzero(n)
    if not len(filled):
        raise ValueError("needs rows, got none")
    blocks: list[tuple[float, float, int]] = []  # positives, rows, bins
    for at in filled:
        block = (float(y[at]), float(n[at]), 1)
        # A block whose rate is not above the one before it cannot stand alone: they are one.
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    rates = np.concatenate([np.full(bins, positive / total) for positive, total, bins in blocks])
    return rates[np.maximum(np.searchsorted(filled, np.arange(len(n)), side="right") - 1, 0)]
