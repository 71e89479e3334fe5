"""Weighted PR-AUC and ROC-AUC against scikit-learn and repeated rows.

Also draws of whole clusters, and gains and losses of means.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from dojo.stats.inference.bootstrap import (
    RelativeGain,
    cluster_weights,
    rank,
    relative_gain,
    relative_gain_of_means,
    relative_loss_of_mean,
)
from dojo.stats.scores.classification import pr_auc, roc_auc

# With few distinct scores there are ties within and across classes, the hard part.
rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=60
).filter(lambda rows: 0 < sum(label for label, _, _ in rows) < len(rows))


@given(rows)
def test_a_weighted_pr_auc_is_scikit_learns(data: list[tuple[int, int, int]]) -> None:
    labels, scores, weights = (np.array(column) for column in zip(*data, strict=True))
    ranking = rank(labels, scores / 7)
    assert ranking.pr_auc(np.ones(len(labels), dtype=int)) == pytest.approx(
        pr_auc(labels, scores / 7)
    )
    if (weights * labels).sum() == 0:
        assert math.isnan(ranking.pr_auc(weights))
    else:
        assert ranking.pr_auc(weights) == pytest.approx(
            average_precision_score(labels, scores, sample_weight=weights)
        )


@given(rows)
def test_a_weighted_roc_auc_is_scikit_learns(data: list[tuple[int, int, int]]) -> None:
    labels, scores, weights = (np.array(column) for column in zip(*data, strict=True))
    ranking = rank(labels, scores / 7)
    assert ranking.roc_auc(np.ones(len(labels), dtype=int)) == pytest.approx(
        roc_auc(labels, scores / 7)
    )
    if (weights * labels).sum() == 0 or (weights * (1 - labels)).sum() == 0:
        assert math.isnan(ranking.roc_auc(weights))
    else:
        assert ranking.roc_auc(weights) == pytest.approx(
            roc_auc_score(labels, scores, sample_weight=weights)
        )


@given(rows)
def test_a_weight_is_a_number_of_copies(data: list[tuple[int, int, int]]) -> None:
    labels, scores, weights = (np.array(column) for column in zip(*data, strict=True))
    copied = np.repeat(np.arange(len(labels)), weights)
    if not 0 < labels[copied].sum() < len(copied):
        return
    assert rank(labels, scores).pr_auc(weights) == pytest.approx(
        pr_auc(labels[copied], scores[copied])
    )


def test_both_classes_are_needed() -> None:
    with pytest.raises(ValueError, match="needs both classes, got 0 positives in 3 rows"):
        rank(np.zeros(3, dtype=int), np.arange(3.0))


def test_rows_of_a_cluster_are_drawn_together_and_as_many_clusters_as_there_are() -> None:
    customers = np.array([0, 0, 1, 2, 2, 2])
    for weights in cluster_weights([customers], 50, seed=1):
        per_customer = [set(weights[customers == c]) for c in range(3)]
        assert all(len(copies) == 1 for copies in per_customer)
        assert sum(copies.pop() for copies in per_customer) == 3


def test_two_ways_of_clustering_multiply() -> None:
    """With its customer drawn twice and its merchant three times, a row comes six times.

    Each factor can be read off alone.
    """
    customers, merchants = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    seen = set()
    for weights in cluster_weights([customers, merchants], 200, seed=1):
        table = weights.reshape(2, 2)
        assert table[0, 0] * table[1, 1] == table[0, 1] * table[1, 0]
        seen |= set(weights.tolist())
    assert 4 in seen


def test_draws_depend_on_the_seed_alone() -> None:
    clusters = [np.arange(30)]
    first, again, other = (
        [w.tolist() for w in cluster_weights(clusters, 5, seed)] for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("clusters", [[], [np.arange(3), np.arange(4)]])
def test_clusters_must_say_something_about_every_row(clusters: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected one cluster per row"):
        next(cluster_weights(clusters, 1, seed=1))


def test_the_interval_holds_the_gain_and_grows_with_confidence() -> None:
    random = np.random.default_rng(3)
    labels = (random.random(3000) < 0.05).astype(int)
    old, new = labels + random.normal(0, 1, 3000), 1.3 * labels + random.normal(0, 1, 3000)
    gains = [
        relative_gain(
            "pr_auc", labels, old, new, [np.arange(3000)], draws=400, confidence=confidence, seed=1
        )
        for confidence in (0.8, 0.99)
    ]
    assert gains[0].value == pytest.approx(
        (pr_auc(labels, new) - pr_auc(labels, old)) / pr_auc(labels, old)
    )
    assert gains[1].low < gains[0].low < gains[0].value < gains[0].high < gains[1].high


# Values of each row, the baseline's and the contender's. The baseline's are not all 0.
pairs = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0, 100)), min_size=1, max_size=30)


def gain_of(
    old: np.ndarray, new: np.ndarray, *, lower_is_better: bool = True, root: bool = False
) -> RelativeGain:
    clusters = [np.arange(len(old))]
    return relative_gain_of_means(
        old,
        new,
        clusters,
        lower_is_better=lower_is_better,
        root=root,
        draws=20,
        confidence=0.95,
        seed=1,
    )


def loss_of(
    values: np.ndarray, promised: float, *, lower_is_better: bool = True, root: bool = False
) -> RelativeGain:
    clusters = [np.arange(len(values))]
    return relative_loss_of_mean(
        values,
        promised,
        clusters,
        lower_is_better=lower_is_better,
        root=root,
        draws=20,
        confidence=0.95,
        seed=1,
    )


@given(pairs)
def test_a_gain_of_means_is_relative_to_the_baselines(data: list[tuple[float, float]]) -> None:
    old, new = (np.array(column) for column in zip(*data, strict=True))
    assert gain_of(old, new, lower_is_better=False).value == pytest.approx(
        (new.mean() - old.mean()) / old.mean()
    )
    of_roots = (np.sqrt(new.mean()) - np.sqrt(old.mean())) / np.sqrt(old.mean())
    assert gain_of(old, new, lower_is_better=False, root=True).value == pytest.approx(of_roots)


@given(pairs, st.floats(0.01, 100))
def test_a_loss_of_a_mean_is_relative_to_what_was_promised(
    data: list[tuple[float, float]], promised: float
) -> None:
    values = np.array([value for _, value in data])
    assert loss_of(values, promised).value == pytest.approx(values.mean() / promised - 1)
    assert loss_of(values, promised, root=True).value == pytest.approx(
        np.sqrt(values.mean()) / promised - 1
    )


@given(pairs, st.booleans())
def test_the_direction_that_is_better_turns_everything_round(
    data: list[tuple[float, float]], root: bool
) -> None:
    old, new = (np.array(column) for column in zip(*data, strict=True))
    for less, more in (
        [gain_of(old, new, lower_is_better=lower, root=root) for lower in (True, False)],
        [loss_of(new, 3.0, lower_is_better=lower, root=root) for lower in (True, False)],
    ):
        assert less.value == -more.value
        assert (less.low, less.high) == pytest.approx((-more.high, -more.low))


def test_fewer_errors_are_a_gain_and_more_are_a_loss() -> None:
    assert gain_of(np.full(4, 10.0), np.full(4, 9.0)).value == pytest.approx(0.1)
    assert loss_of(np.full(4, 11.0), 10.0).value == pytest.approx(0.1)
    assert loss_of(np.full(4, 0.9), 1.0, lower_is_better=False).value == pytest.approx(0.1)


def test_rows_that_all_say_the_same_leave_no_doubt_however_many_of_them_are_drawn() -> None:
    """A draw of large clusters has more rows, and a mean is per row."""
    clusters = [np.repeat(np.arange(4), (1, 2, 10, 50))]
    arguments = {"lower_is_better": True, "draws": 50, "confidence": 0.95, "seed": 1}
    loss = relative_loss_of_mean(np.full(63, 11.0), 10.0, clusters, **arguments)
    gain = relative_gain_of_means(np.full(63, 10.0), np.full(63, 9.0), clusters, **arguments)
    for found in (loss, gain):
        assert (found.low, found.value, found.high) == pytest.approx((0.1, 0.1, 0.1))


def errors_of_clusters(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make errors of two versions on 80 clusters of 1 to 10 rows.

    Each cluster raises or lowers both versions' errors, and each version's alone.
    """
    clusters = np.repeat(np.arange(80), random.integers(1, 11, 80))
    hard, first, second = random.gamma(8, 1 / 8, (3, 80))[:, clusters]
    return (
        hard * first * random.exponential(10, len(clusters)),
        hard * second * random.exponential(8, len(clusters)),
        clusters,
    )


def test_intervals_cover_the_truth_about_as_often_as_they_say_and_those_of_single_rows_do_not() -> (
    None
):
    """150 seeded experiments. The contender's mean error is 0.8 of the baseline's.

    The expected coverage is 90 %, +-5 points of simulation noise.
    """
    random = np.random.default_rng(21)
    arguments = {"lower_is_better": True, "draws": 150, "confidence": 0.9, "seed": 1}
    gains = losses = naive = 0
    for _ in range(150):
        old, new, clusters = errors_of_clusters(random)
        gain = relative_gain_of_means(old, new, [clusters], **arguments)
        loss = relative_loss_of_mean(new, 10.0, [clusters], **arguments)
        single = relative_loss_of_mean(new, 10.0, [np.arange(len(new))], **arguments)
        gains += gain.low <= 0.2 <= gain.high
        losses += loss.low <= -0.2 <= loss.high
        naive += single.low <= -0.2 <= single.high
    assert 0.83 <= gains / 150 <= 0.95
    assert 0.83 <= losses / 150 <= 0.95
    assert naive / 150 < 0.8, "the clusters of this test do not matter"


def test_a_draw_without_anything_to_be_relative_to_is_left_out() -> None:
    found = relative_gain_of_means(
        np.array([1.0, 0, 0]),
        np.ones(3),
        [np.arange(3)],
        lower_is_better=False,
        draws=300,
        confidence=0.9,
        seed=1,
    )
    assert found.value == 2
    assert np.isfinite(found.drawn).all()
    assert 180 < len(found.drawn) < 240  # the first row is in 1 - (2/3)^3 = 70 % of the draws


def test_nothing_is_relative_to_zero() -> None:
    with pytest.raises(ValueError, match="the baseline's mean is 0"):
        gain_of(np.zeros(3), np.ones(3))
    for promised in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"expected a promised value above 0, got {promised}"):
            loss_of(np.ones(3), promised)


@pytest.mark.parametrize("clusters", [[], [np.arange(3), np.arange(4)]])
def test_means_need_a_cluster_for_every_row_too(clusters: list[np.ndarray]) -> None:
    arguments = {"lower_is_better": True, "draws": 2, "confidence": 0.9, "seed": 1}
    with pytest.raises(ValueError, match="expected one cluster per row"):
        relative_gain_of_means(np.ones(3), np.ones(3), clusters, **arguments)
    with pytest.raises(ValueError, match="expected one cluster per row"):
        relative_loss_of_mean(np.ones(3), 1.0, clusters, **arguments)


def test_a_weighted_row_is_as_many_rows_of_its_cluster() -> None:
    random = np.random.default_rng(3)
    old, new, copies = random.random(40) + 1, random.random(40) + 1, random.integers(1, 5, 40)
    cluster, arguments = np.arange(40) // 4, {"draws": 30, "confidence": 0.9, "seed": 1}
    many = np.repeat(np.arange(40), copies)
    gains, losses = (
        [
            relative_gain_of_means(
                old, new, [cluster], lower_is_better=False, weights=copies, **arguments
            ),
            relative_gain_of_means(
                old[many], new[many], [cluster[many]], lower_is_better=False, **arguments
            ),
        ],
        [
            relative_loss_of_mean(
                new, 1.4, [cluster], lower_is_better=False, weights=copies, **arguments
            ),
            relative_loss_of_mean(
                new[many], 1.4, [cluster[many]], lower_is_better=False, **arguments
            ),
        ],
    )
    for weighted, repeated in (gains, losses):
        assert weighted.value == pytest.approx(repeated.value)
        assert weighted.drawn == pytest.approx(repeated.drawn)
