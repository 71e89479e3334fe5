"""How well scores order lists of candidates.

`labels`, `scores` and `lists` have shape (rows,). A label is a grade of relevance, >= 0. `lists`
holds each row's list number. Candidates with equal scores share their ranks. Each counts as if it
stood at all of them equally often.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]


def ndcg_by_list(
    labels: Array, scores: Array, lists: npt.NDArray[np.integer[Any]], k: int
) -> npt.NDArray[np.float64]:
    """Return the normalised discounted cumulative gain of each list's first k candidates.

    Args:
        labels: Grades of relevance, >= 0, shape (rows,).
        scores: Shape (rows,).
        lists: The list of each row, shape (rows,).
        k: Number of ranks that count, >= 1.

    Returns:
        Shape (lists,), in order of their numbers. In [0, 1], NaN for a list without relevant rows.

    Raises:
        ValueError: The shapes differ, a label is negative, a score is not finite, or k < 1.

    Source: Burges et al., Learning to Rank using Gradient Descent (2005), gain 2^grade - 1,
    discount 1 / log2(rank + 1).
    McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the
    Presence of Tied Scores (2008).
    """
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if not labels.shape == scores.shape == lists.shape:
        raise ValueError(
            f"expected equally many rows, got {labels.shape}, {scores.shape} and {lists.shape}"
        )
    grades, values = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if not ((grades >= 0).all() and np.isfinite(values).all()):
        raise ValueError("labels must be >= 0 and scores finite")
    _, list_of = np.unique(lists, return_inverse=True)
    gains = np.exp2(grades) - 1
    found = _discounted(gains, values, list_of, k)
    best = _discounted(gains, grades, list_of, k)
    result: npt.NDArray[np.float64] = np.divide(
        found, best, out=np.full(len(best), np.nan), where=best > 0
    )
    return result


def rank_in_list(scores: Array, lists: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return each row's rank in its list, from 1 for the highest score.

    Rows with equal scores keep their order.
    """
    order = np.lexsort((-np.asarray(scores, dtype=np.float64), lists))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = _positions(np.asarray(lists)[order]) + 1
    return ranks


def _discounted(
    gains: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    list_of: npt.NDArray[np.int64],
    k: int,
) -> npt.NDArray[np.float64]:
    order = np.lexsort((-scores, list_of))
    lists, values = list_of[order], scores[order]
    position = _positions(lists)
    discount = np.where(position < k, 1 / np.log2(position + 2), 0.0)
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (lists[1:] != lists[:-1]) | (values[1:] != values[:-1])
    tie = np.cumsum(starts) - 1
    shared = (np.bincount(tie, weights=discount) / np.bincount(tie))[tie] if len(tie) else discount
    return np.bincount(lists, weights=gains[order] * shared).astype(np.float64)


def _positions(lists: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return each row's position in its list, from 0. The rows of a list stand together."""
    begins = np.ones(len(lists), dtype=bool)
    begins[1:] = lists[1:] != lists[:-1]
    at = np.arange(len(lists))
    return at - np.maximum.accumulate(np.where(begins, at, 0))
