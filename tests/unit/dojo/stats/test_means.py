"""Means of clustered values, against SciPy for equal clusters, against rates, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import sem

from dojo.stats.inference.means import Mean, clustered_mean
from dojo.stats.inference.proportions import clustered_rate


def standard_error(values: np.ndarray, mean: Mean) -> float:
    return float(values.std() / np.sqrt(mean.effective))


def group(random: np.random.Generator, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Make 100 clusters of 1 to 20 values around 10.

    `shared`: standard deviation of the common part of a cluster's values.
    """
    clusters = np.repeat(np.arange(100), random.integers(1, 21, 100))
    own = random.normal(0, shared, 100)
    return 10 + own[clusters] + random.normal(0, 1, len(clusters)), clusters


def test_the_effective_number_gives_intervals_that_cover_the_truth_as_often_as_they_say() -> None:
    """1,000 seeded experiments: 95 %, +-1.4 percentage points of simulation noise.

    The coverage is a little lower, because there are only 100 clusters.
    """
    random = np.random.default_rng(11)
    covered = naive = 0
    for _ in range(1000):
        values, clusters = group(random, shared=1.0)
        mean = clustered_mean(values, clusters)
        covered += abs(mean.value - 10) <= 1.96 * standard_error(values, mean)
        naive += abs(mean.value - 10) <= 1.96 * sem(values)
    assert 0.925 <= covered / 1000 <= 0.965
    assert naive / 1000 < 0.7, "the clusters of this test do not matter"


def test_values_that_clusters_do_not_share_are_all_independent() -> None:
    random = np.random.default_rng(12)
    shares = []
    for _ in range(200):
        values, clusters = group(random, shared=0.0)
        effective = clustered_mean(values, clusters).effective
        assert effective <= len(values)
        shares.append(effective / len(values))
    # The design effect is at least 1, and half of its estimates lie above 1.
    assert 0.88 < np.mean(shares) < 1
    assert 0.35 < np.mean(np.array(shares) == 1) < 0.75


def test_clusters_of_one_value_are_independent_values() -> None:
    values = np.random.default_rng(13).normal(size=100)
    assert clustered_mean(values, np.arange(100)).effective == pytest.approx(99)  # n - 1


def test_copies_of_one_value_count_once() -> None:
    values = np.repeat(np.random.default_rng(14).normal(size=50), 8)
    mean = clustered_mean(values, np.repeat(np.arange(50), 8).astype(str))  # a key may be text
    assert mean.value == pytest.approx(values.mean())
    assert mean.effective == pytest.approx(49)


def test_equally_large_clusters_have_the_standard_error_of_scipys_sem() -> None:
    random = np.random.default_rng(15)
    values = (random.normal(0, 2, (60, 1)) + random.normal(size=(60, 7))).ravel()
    mean = clustered_mean(values, np.repeat(np.arange(60), 7))
    assert standard_error(values, mean) == pytest.approx(sem(values.reshape(60, 7).mean(axis=1)))


trials = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=60)


@given(trials)
def test_the_mean_of_hits_is_their_rate(rows: list[tuple[bool, int]]) -> None:
    hits, clusters = (
        np.array([hit for hit, _ in rows], dtype=float),
        np.array([cluster for _, cluster in rows]),
    )
    rate = clustered_rate(np.bincount(clusters, weights=hits), np.bincount(clusters))
    found = clustered_mean(hits, clusters)
    assert (found.value, found.effective) == pytest.approx((rate.value, rate.effective))
    assert 0 < found.effective <= len(hits) + 1e-9


def test_without_any_spread_to_see_a_mean_rests_on_its_clusters() -> None:
    assert clustered_mean(np.full(40, 2.5), np.repeat(np.arange(8), 5)) == Mean(
        2.5, pytest.approx(8)
    )
    assert clustered_mean(np.arange(5.0), np.zeros(5)) == Mean(2.0, pytest.approx(1)), (
        "one cluster shows no spread between clusters"
    )


@pytest.mark.parametrize(
    ("values", "clusters"), [([], []), ([1.0, 2.0], [1]), ([1.0], [1, 2])], ids=str
)
def test_a_mean_needs_rows_and_one_cluster_for_each(
    values: list[float], clusters: list[int]
) -> None:
    with pytest.raises(ValueError, match="expected one cluster per value"):
        clustered_mean(np.array(values), np.array(clusters))


def test_a_weighted_mean_is_that_of_repeated_rows_and_surer_of_nothing() -> None:
    """Each row is a cluster, so copies of a row say no more than the row."""
    random = np.random.default_rng(1)
    values, copies = random.normal(5, 2, 400), random.integers(1, 10, 400)
    weighted = clustered_mean(values, np.arange(400), copies.astype(float))
    many = np.repeat(np.arange(400), copies)
    repeated = clustered_mean(values[many], many)
    assert weighted.value == pytest.approx(repeated.value)
    assert weighted.effective == pytest.approx(repeated.effective, rel=0.02)
    assert weighted.effective <= copies.sum() ** 2 / (copies**2).sum() < 340
    tens = np.arange(400) // 10
    alike = values + random.normal(0, 3, 40)[tens]
    clustered = clustered_mean(alike, tens, copies.astype(float))
    assert clustered.effective == pytest.approx(
        clustered_mean(alike[many], tens[many]).effective, rel=0.02
    )
    assert clustered.effective < weighted.effective / 2
    assert clustered_mean(values, np.arange(400), np.ones(400)) == clustered_mean(
        values, np.arange(400)
    )
