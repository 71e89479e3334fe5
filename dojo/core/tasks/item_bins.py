"""What a recommender shows, as counts of its items by bin.

A window of answers keeps these counts, so that lists can be judged without labels. A catalogue of
any size takes the same memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import numpy as np
import numpy.typing as npt

# Items share a bin by chance. An hour of 300 shown items is known to a PSI of 0.3, and a day of
# 5,000 to 0.02. More bins tell more items apart, and hours less.
ITEM_BINS = 64

# Edges between the numbers of the bins.
ITEM_EDGES = tuple(number + 0.5 for number in range(ITEM_BINS - 1))


def item_bins(keys: Iterable[object]) -> npt.NDArray[np.int64]:
    """Return the bin of each item's key, shape (keys,). It is the same in every process."""
    return np.array([crc32(str(key).encode()) % ITEM_BINS for key in keys], dtype=np.int64)


def item_histogram(keys: Iterable[object]) -> npt.NDArray[np.int64]:
    """Return the number of keys by bin, shape (ITEM_BINS,)."""
    return np.bincount(item_bins(keys), minlength=ITEM_BINS).astype(np.int64)


def equal_items(counts: npt.NDArray[np.integer]) -> float:
    """Return the number of equally frequent bins that are as concentrated as these counts.

    It does not depend on the number of rows, unlike the number of bins that are not empty.

    Args:
        counts: Rows by bin, at least two rows.

    Returns:
        >= 1. Infinite where no bin has two rows.

    Source: the inverse of Simpson's unbiased index, Measurement of Diversity (1949).
    """
    rows, pairs = int(counts.sum()), int((counts * (counts - 1)).sum())
    return rows * (rows - 1) / pairs if pairs else float("inf")
