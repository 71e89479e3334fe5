"""NDCG of many lists against scikit-learn, list by list, with ties; ranks against SciPy."""

from __future__ import annotations

from itertools import permutations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import ndcg_score

from dojo.stats.scores.ranking import catalogue_coverage, ndcg_by_list, rank_in_list

# Grade, score and list of each row. Few distinct scores make ties, the hard part. The lists' rows
# are mixed, and their numbers have gaps.
Rows = list[tuple[int, int, int]]
rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([-3, 0, 1, 7, 40])),
    min_size=1,
    max_size=40,
)
cuts = st.integers(1, 12)


def columns(data: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grades, scores, lists = (np.array(column) for column in zip(*data, strict=True))
    return grades, scores.astype(float), lists


@given(rows, cuts)
def test_each_lists_ndcg_is_scikit_learns_with_ties_averaged(data: Rows, k: int) -> None:
    grades, scores, lists = columns(data)
    found = ndcg_by_list(grades, scores, lists, k)
    assert found.shape == (len(set(lists.tolist())),)
    for value, number in zip(found, sorted(set(lists.tolist())), strict=True):
        of = lists == number
        if not grades[of].any():
            assert np.isnan(value)
        elif of.sum() == 1:  # scikit-learn refuses a list of one
            assert value == 1.0
        else:
            gains = 2.0 ** grades[of] - 1  # scikit-learn's gains are linear
            assert value == pytest.approx(ndcg_score([gains], [scores[of]], k=k, ignore_ties=False))


def test_ndcg_is_the_published_sum() -> None:
    """Computed by hand for grades 3, 2, 3, 0, 1, 2.

    Each gain 2^grade - 1 is divided by log2(rank + 1).
    """
    grades, scores, one_list = (
        np.array([3, 2, 3, 0, 1, 2]),
        np.arange(6.0, 0, -1),
        np.zeros(6, dtype=int),
    )
    found = 7 + 3 / np.log2(3) + 7 / 2 + 0 + 1 / np.log2(6) + 3 / np.log2(7)
    best = 7 + 7 / np.log2(3) + 3 / 2 + 3 / np.log2(5) + 1 / np.log2(6)
    assert ndcg_by_list(grades, scores, one_list, 6) == pytest.approx([found / best])
    assert ndcg_by_list(grades, scores, one_list, 2) == pytest.approx(
        [(7 + 3 / np.log2(3)) / (7 + 7 / np.log2(3))]
    )


@given(st.lists(st.integers(0, 3), min_size=2, max_size=5).filter(any), cuts)
def test_equal_scores_are_worth_the_mean_of_all_their_orders(grades: list[int], k: int) -> None:
    orders = np.array(list(permutations(range(len(grades)))), dtype=float)
    of_each = ndcg_by_list(
        np.tile(grades, len(orders)),
        orders.ravel(),
        np.repeat(np.arange(len(orders)), len(grades)),
        k,
    )
    tied = ndcg_by_list(
        np.array(grades), np.zeros(len(grades)), np.zeros(len(grades), dtype=int), k
    )
    assert tied == pytest.approx([of_each.mean()])


@given(rows, cuts)
def test_ndcg_lies_between_0_and_1_and_the_grades_own_order_reaches_1(data: Rows, k: int) -> None:
    grades, scores, lists = columns(data)
    found, best = (ndcg_by_list(grades, by, lists, k) for by in (scores, grades))
    relevant = np.isfinite(best)
    np.testing.assert_allclose(best[relevant], 1)
    assert ((found[relevant] >= 0) & (found[relevant] <= 1 + 1e-12)).all()
    assert (np.isfinite(found) == relevant).all(), (
        "whether a list counts must not depend on its scores"
    )


@given(rows, cuts, st.randoms(use_true_random=False))
def test_ndcg_depends_on_the_order_of_scores_alone(data: Rows, k: int, random: Random) -> None:
    shuffled = list(data)
    random.shuffle(shuffled)
    grades, scores, lists = columns(shuffled)
    np.testing.assert_allclose(
        ndcg_by_list(grades, np.exp(scores) - 50, lists, k), ndcg_by_list(*columns(data), k)
    )


def test_a_list_without_anything_relevant_is_nan_and_leaves_the_others_alone() -> None:
    grades, scores, lists = (
        np.array([0, 0, 1, 0]),
        np.array([1.0, 2.0, 1.0, 2.0]),
        np.array([5, 5, 9, 9]),
    )
    assert ndcg_by_list(grades, scores, lists, 10) == pytest.approx(
        [np.nan, 1 / np.log2(3)], nan_ok=True
    )


def test_no_rows_are_no_lists() -> None:
    empty = np.empty(0)
    assert ndcg_by_list(empty, empty, empty.astype(int), 3).shape == (0,)
    assert rank_in_list(empty, empty.astype(int)).shape == (0,)


@pytest.mark.parametrize(
    ("grades", "scores", "lists", "k", "reason"),
    [
        ([1.0], [1.0], [0], 0, "k must be >= 1, got 0"),
        ([1.0, 0.0], [1.0], [0], 3, r"equally many rows, got \(2,\), \(1,\) and \(1,\)"),
        ([1.0], [1.0], [0, 0], 3, r"equally many rows, got \(1,\), \(1,\) and \(2,\)"),
        ([1.0, -1.0], [1.0, 2.0], [0, 0], 3, "labels must be >= 0"),
        ([1.0, 0.0], [1.0, np.nan], [0, 0], 3, "scores must be finite"),
        ([1.0, 0.0], [1.0, np.inf], [0, 0], 3, "scores must be finite"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    grades: list[float], scores: list[float], lists: list[int], k: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        ndcg_by_list(np.array(grades), np.array(scores), np.array(lists), k)


@given(rows)
def test_ranks_in_a_list_are_scipys_ordinal_ranks_from_the_highest_score(data: Rows) -> None:
    """Each rank from 1 to the list's length occurs once.

    Equal scores keep the order of the rows.
    """
    _, scores, lists = columns(data)
    found = rank_in_list(scores, lists)
    for number in set(lists.tolist()):
        assert (
            found[lists == number].tolist()
            == rankdata(-scores[lists == number], method="ordinal").tolist()
        )


@given(rows, cuts)
def test_coverage_counts_the_grades_that_some_list_shows(data: Rows, k: int) -> None:
    """The first rows of each list, sorted by score as Python's stable sort does."""
    items, scores, lists = columns(data)
    shown: set[int] = set()
    for number in set(lists.tolist()):
        of = [n for n in range(len(items)) if lists[n] == number]
        shown |= {int(items[n]) for n in sorted(of, key=lambda n: -scores[n])[:k]}
    found = catalogue_coverage(items, scores, lists, k)
    assert found == len(shown) / len(set(items.tolist()))


def test_no_candidates_cover_nothing() -> None:
    empty = np.empty(0)
    assert np.isnan(catalogue_coverage(empty, empty, empty.astype(int), 3))
