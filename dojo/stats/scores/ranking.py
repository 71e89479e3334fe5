"""How well scores order lists of candidates.

`labels`, `scores` and `lists` have shape (rows,). A label is a grade of relevance, >= 0. `lists`
holds each row's list number. Candidates with equal scores share their ranks. Each counts as if it
stood at all of them equally often.

`weights`, shape (rows,) and >= 1, corrects labels for *position bias*. A click needs a look, and
people look less at lower ranks. If a share p of them looks at a rank, its labels have the weight
1 / p. The weight multiplies the label's gain. Without it each label counts once.

Source of the weights: Joachims, Swaminathan and Schnabel, Unbiased Learning-to-Rank with Biased
Feedback (2017).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]


def ndcg_by_list(
    labels: Array,
    scores: Array,
    lists: npt.NDArray[np.integer[Any]],
    k: int,
    weights: Array | None = None,
) -> npt.NDArray[np.float64]:
    """Return the normalised discounted cumulative gain of each list's first k candidates.

    The ideal order sorts a list by its weighted gains. A value therefore never exceeds 1.

    Args:
        labels: Grades of relevance, >= 0, shape (rows,).
        scores: Shape (rows,).
        lists: The list of each row, shape (rows,).
        k: Number of ranks that count, >= 1.
        weights: As above.

    Returns:
        Shape (lists,), in order of their numbers. In [0, 1], NaN for a list without relevant rows.
        A mean of weighted lists takes `weight_by_list` as its weights.

    Raises:
        ValueError: The shapes differ, or a label, weight, score or k is out of its range.

    Source: Burges et al., Learning to Rank using Gradient Descent (2005), gain 2^grade - 1,
    discount 1 / log2(rank + 1).
    McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the
    Presence of Tied Scores (2008).
    """
    if not labels.shape == scores.shape == lists.shape:
        raise ValueError(
            f"expected equally many rows, got {labels.shape}, {scores.shape} and {lists.shape}"
        )
    values = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    gains = gains_of(labels, weights)
    _, list_of = np.unique(lists, return_inverse=True)
    return _ratio(_discounted(gains, values, list_of, k), _discounted(gains, gains, list_of, k))


def weight_by_list(
    labels: Array, lists: npt.NDArray[np.integer[Any]], k: int, weights: Array | None = None
) -> npt.NDArray[np.float64]:
    """Return the number of like lists that each list stands for.

    It is the ideal gain with weights over the ideal gain without. So the mean of `ndcg_by_list`
    with these weights sums each list's weighted gain over its plain ideal gain. This sum ranks two
    orders like the labels of people who look everywhere. A plain mean of lists would not. It
    divides each list's weights by themselves.

    Args:
        labels: As for `ndcg_by_list`.
        lists: As for `ndcg_by_list`.
        k: As for `ndcg_by_list`.
        weights: As for `ndcg_by_list`.

    Returns:
        Shape (lists,), in order of their numbers. >= 1, NaN for a list without relevant rows.

    Raises:
        ValueError: As for `ndcg_by_list`.

    Source: Swaminathan and Joachims, The Self-Normalized Estimator for Counterfactual Learning
    (2015), which the mean is for lists with one relevant row.
    """
    _, list_of = np.unique(lists, return_inverse=True)
    gains, plain = gains_of(labels, weights), gains_of(labels)
    return _ratio(_discounted(gains, gains, list_of, k), _discounted(plain, plain, list_of, k))


def catalogue_coverage(
    items: npt.NDArray[Any], scores: Array, lists: npt.NDArray[np.integer[Any]], k: int
) -> float:
    """Return the share of the candidates' items that reach the first k ranks of any list.

    It rises with the number of lists, because each list adds items to the shown ones.

    Args:
        items: Key of each row's item, shape (rows,).
        scores: Shape (rows,). Rows with equal scores keep their order.
        lists: The list of each row, shape (rows,).
        k: Number of ranks that count, >= 1.

    Returns:
        In (0, 1]. NaN without rows.

    Source: Ge, Delgado-Battenfeld and Jannach, Beyond Accuracy: Evaluating Recommender Systems by
    Coverage and Serendipity (2010), catalog coverage.
    """
    if not len(items):
        return float("nan")
    shown = items[rank_in_list(scores, lists) <= k]
    return len(np.unique(shown)) / len(np.unique(items))


def gains_of(labels: Array, weights: Array | None = None) -> npt.NDArray[np.float64]:
    """Return the gain of each row, weight * (2^grade - 1), shape (rows,).

    Raises:
        ValueError: A label is negative, a weight is below 1, or the shapes differ.
    """
    grades = np.asarray(labels, dtype=np.float64)
    if not (grades >= 0).all():
        raise ValueError("labels must be >= 0")
    gains: npt.NDArray[np.float64] = np.exp2(grades) - 1
    if weights is None:
        return gains
    each = np.asarray(weights, dtype=np.float64)
    if each.shape != grades.shape or not (each >= 1).all():
        raise ValueError(f"expected {len(grades)} weights of 1 or more, got shape {each.shape}")
    return gains * each


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
    """Return the discounted gain of each list's first k candidates, shape (lists,)."""
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    order = np.lexsort((-scores, list_of))
    lists, values = list_of[order], scores[order]
    position = _positions(lists)
    discount = np.where(position < k, 1 / np.log2(position + 2), 0.0)
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (lists[1:] != lists[:-1]) | (values[1:] != values[:-1])
    tie = np.cumsum(starts) - 1
    shared = (np.bincount(tie, weights=discount) / np.bincount(tie))[tie] if len(tie) else discount
    return np.bincount(lists, weights=gains[order] * shared).astype(np.float64)


def _ratio(
    above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return above / below, NaN where `below` is 0."""
    found: npt.NDArray[np.float64] = np.divide(
        above, below, out=np.full(len(below), np.nan), where=below > 0
    )
    return found


def _positions(lists: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return each row's position in its list, from 0. The rows of a list stand together."""
    begins = np.ones(len(lists), dtype=bool)
    begins[1:] = lists[1:] != lists[:-1]
    at = np.arange(len(lists))
    return at - np.maximum.accumulate(np.where(begins, at, 0))
