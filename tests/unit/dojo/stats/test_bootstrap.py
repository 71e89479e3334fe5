"""Weighted PR-AUC and ROC-AUC against scikit-learn and against repeated rows; draws of whole clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from dojo.stats.inference.bootstrap import cluster_weights, rank, relative_gain
from dojo.stats.scores.classification import pr_auc, roc_auc

# Few distinct scores: ties within and across the classes are the hard part.
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=60).filter(
    lambda rows: 0 < sum(label for label, _, _ in rows) < len(rows)
)


@given(rows)
def test_a_weighted_pr_auc_is_scikit_learns(data: list[tuple[int, int, int]]) -> None:
    labels, scores, weights = (np.array(column) for column in zip(*data, strict=True))
    ranking = rank(labels, scores / 7)
    assert ranking.pr_auc(np.ones(len(labels), dtype=int)) == pytest.approx(pr_auc(labels, scores / 7))
    if (weights * labels).sum() == 0:
        assert math.isnan(ranking.pr_auc(weights))
    else:
        assert ranking.pr_auc(weights) == pytest.approx(average_precision_score(labels, scores, sample_weight=weights))


@given(rows)
def test_a_weighted_roc_auc_is_scikit_learns(data: list[tuple[int, int, int]]) -> None:
    labels, scores, weights = (np.array(column) for column in zip(*data, strict=True))
    ranking = rank(labels, scores / 7)
    assert ranking.roc_auc(np.ones(len(labels), dtype=int)) == pytest.approx(roc_auc(labels, scores / 7))
    if (weights * labels).sum() == 0 or (weights * (1 - labels)).sum() == 0:
        assert math.isnan(ranking.roc_auc(weights))
    else:
        assert ranking.roc_auc(weights) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))


@given(rows)
def test_a_weight_is_a_number_of_copies(data: list[tuple[int, int, int]]) -> None:
    labels, scores, weights = (np.array(column) for column in zip(*data, strict=True))
    copied = np.repeat(np.arange(len(labels)), weights)
    if not 0 < labels[copied].sum() < len(copied):
        return
    assert rank(labels, scores).pr_auc(weights) == pytest.approx(pr_auc(labels[copied], scores[copied]))


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
    """A row of a customer drawn twice and a merchant drawn three times comes six times; each way's share can be read off alone."""
    customers, merchants = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    seen = set()
    for weights in cluster_weights([customers, merchants], 200, seed=1):
        table = weights.reshape(2, 2)
        assert table[0, 0] * table[1, 1] == table[0, 1] * table[1, 0]
        seen |= set(weights.tolist())
    assert 4 in seen


def test_draws_depend_on_the_seed_alone() -> None:
    clusters = [np.arange(30)]
    first, again, other = ([w.tolist() for w in cluster_weights(clusters, 5, seed)] for seed in (1, 1, 2))
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
        relative_gain("pr_auc", labels, old, new, [np.arange(3000)], draws=400, confidence=confidence, seed=1)
        for confidence in (0.8, 0.99)
    ]
    assert gains[0].value == pytest.approx((pr_auc(labels, new) - pr_auc(labels, old)) / pr_auc(labels, old))
    assert gains[1].low < gains[0].low < gains[0].value < gains[0].high < gains[1].high
