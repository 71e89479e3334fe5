"""Intervals of clustered rates, against published figures, known libraries and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dojo.stats.inference.proportions import (
    Rate,
    clustered_rate,
    newcombe_interval,
    ratio_interval,
    sample_ratio_p_value,
    wilson_interval,
)


def simple(hits: int, trials: int) -> Rate:
    return Rate(hits / trials, trials, trials, trials)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [  # Newcombe (1998), Table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_the_difference_has_newcombes_published_intervals(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    assert newcombe_interval(simple(*first), simple(*second)) == pytest.approx(
        (low, high), abs=6e-5
    )


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilsons_interval_is_scipys(trials: int, share: float, confidence: float) -> None:
    hits = round(share * trials)
    reference = stats.binomtest(hits, trials).proportion_ci(confidence, method="wilson")
    assert wilson_interval(hits / trials, trials, confidence) == pytest.approx(
        (reference.low, reference.high), abs=1e-9
    )


@given(st.integers(0, 5000), st.integers(0, 5000), st.floats(0.01, 0.99))
def test_the_sample_ratio_check_is_scipys_chi_square(first: int, second: int, share: float) -> None:
    if first + second == 0:
        assert sample_ratio_p_value((first, second), (share, 1 - share)) == 1.0
        return
    expected = [(first + second) * share, (first + second) * (1 - share)]
    assert sample_ratio_p_value((first, second), (share, 1 - share)) == pytest.approx(
        stats.chisquare([first, second], expected).pvalue, abs=1e-12
    )


def test_clusters_of_one_trial_are_independent_trials() -> None:
    rate = clustered_rate(np.array([1] * 30 + [0] * 70), np.ones(100, dtype=int))
    assert (rate.value, rate.trials, rate.clusters) == (0.3, 100, 100)
    assert rate.effective == pytest.approx(99)  # n - 1, because the variance is estimated


def test_clusters_that_all_hit_or_all_miss_count_as_one_trial_each() -> None:
    rate = clustered_rate(np.array([10] * 30 + [0] * 70), np.full(100, 10))
    assert (rate.value, rate.trials) == (0.3, 1000)
    assert rate.effective == pytest.approx(99)


@pytest.mark.parametrize("hit", [0, 10])
def test_a_rate_without_spread_rests_on_clusters_not_on_trials(hit: int) -> None:
    assert clustered_rate(np.full(100, hit), np.full(100, 10)).effective == pytest.approx(100)


@pytest.mark.parametrize(
    ("hits", "trials"), [([1, 2], [1]), ([2], [1]), ([-1], [1]), ([0], [0]), ([], [])], ids=str
)  # fmt: skip
def test_what_is_no_rate_is_refused(hits: list[int], trials: list[int]) -> None:
    with pytest.raises(ValueError, match="trials"):
        clustered_rate(np.array(hits), np.array(trials))


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=40).filter(
        lambda rows: any(n for _, n in rows)
    )
)
def test_clusters_never_know_more_than_their_trials(rows: list[tuple[int, int]]) -> None:
    trials = np.array([n for _, n in rows])
    rate = clustered_rate(np.minimum([h for h, _ in rows], trials), trials)
    assert 0 < rate.effective <= rate.trials
    low, high = wilson_interval(rate.value, rate.effective)
    assert 0 <= low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= high <= 1


def clustered_group(
    generator: np.random.Generator, clusters: int, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Make clusters of 1 to 20 trials.

    Each has its own rate, beta-distributed with intraclass correlation 0.2.
    """
    trials = generator.integers(1, 21, clusters)
    own = generator.beta(rate * 4, (1 - rate) * 4, clusters)
    return generator.binomial(trials, own), trials


def test_the_clustered_interval_covers_the_truth_as_often_as_it_says_unlike_the_naive_one() -> None:
    """2,000 seeded experiments of 2 x 300 clusters without a difference.

    The expected coverage is 95 %, +-1 percentage point of simulation noise.
    """
    generator = np.random.default_rng(7)
    covered = naive = money = 0
    experiments = 2000
    for _ in range(experiments):
        groups = [clustered_group(generator, 300, 0.1) for _ in range(2)]
        low, high = newcombe_interval(*(clustered_rate(*group) for group in groups))
        covered += low <= 0 <= high
        low, high = newcombe_interval(
            *(simple(int(hits.sum()), int(trials.sum())) for hits, trials in groups)
        )
        naive += low <= 0 <= high
        *_, low, high = ratio_interval(*groups)
        money += low <= 0 <= high
    assert 0.94 <= covered / experiments <= 0.965
    assert 0.935 <= money / experiments <= 0.965
    assert naive / experiments < 0.80, "the clusters of this test do not matter"


def test_a_ratio_of_sums_is_known_by_its_clusters() -> None:
    first = (np.array([50.0, 0.0, 30.0]), np.array([100.0, 20.0, 30.0]))
    second = (np.array([10.0, 10.0]), np.array([40.0, 10.0]))
    ratio_1, ratio_2, difference, low, high = ratio_interval(first, second)
    assert (ratio_1, ratio_2) == pytest.approx((80 / 150, 20 / 50))
    assert difference == pytest.approx(80 / 150 - 0.4)
    # By hand: residuals y - R x, n/(n-1) * sum of squares / (sum x)^2.
    residuals_1 = np.array([50 - 160 / 3, -32 / 3, 30 - 16])
    residuals_2 = np.array([10 - 16, 10 - 4])
    variance = 1.5 * (residuals_1**2).sum() / 150**2 + 2 * (residuals_2**2).sum() / 50**2
    assert (high - low) / 2 == pytest.approx(1.959964 * variance**0.5)
    with pytest.raises(ValueError, match="two clusters"):
        ratio_interval(first, (np.array([1.0]), np.array([2.0])))


def test_a_ratio_check_wants_two_groups() -> None:
    with pytest.raises(ValueError, match="two groups"):
        sample_ratio_p_value((1, 2, 3), (0.3, 0.3, 0.4))
