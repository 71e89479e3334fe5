"""dojo/stats/distances/divergence.py against SciPy, and by the measures' defining properties."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial import distance

from dojo.stats.distances.divergence import (
    jensen_shannon,
    ks_bounds,
    kullback_leibler,
    wasserstein_of_counts,
)
from dojo.stats.histograms.binning import bin_counts, population_stability_index, quantile_edges

counts = arrays(np.int64, 6, elements=st.integers(0, 1000)).filter(lambda c: c.sum() > 0)
# Whole numbers make ties, fractions avoid them.
samples = arrays(
    np.float64,
    st.integers(1, 60),
    elements=st.one_of(st.integers(-4, 4).map(float), st.floats(-50, 50, width=16)),
)


@given(counts, counts)
def test_divergences_of_counts_are_scipys(r: np.ndarray, c: np.ndarray) -> None:
    assert jensen_shannon(r, c) == pytest.approx(
        distance.jensenshannon(r, c, base=2) ** 2, abs=1e-12
    )
    smoothed = [np.maximum(side, 0.5) for side in (c, r)]
    assert kullback_leibler(r, c) == pytest.approx(stats.entropy(*smoothed), abs=1e-12)


@given(counts, counts, st.permutations(range(6)), st.integers(2, 9))
def test_divergences_keep_their_bounds_and_what_they_must_not_depend_on(
    r: np.ndarray, c: np.ndarray, order: list[int], times: int
) -> None:
    js, kl = jensen_shannon(r, c), kullback_leibler(r, c)
    assert 0 <= js <= 1
    assert kl >= 0
    assert jensen_shannon(c, r) == pytest.approx(js, abs=1e-12)
    assert jensen_shannon(r, r) == kullback_leibler(r, r) == 0
    assert jensen_shannon(r[order], c[order]) == pytest.approx(js, abs=1e-12)
    assert kullback_leibler(r[order], c[order]) == pytest.approx(kl, abs=1e-12)
    assert jensen_shannon(times * r, c) == pytest.approx(js, abs=1e-12)
    assert population_stability_index(r, c) == pytest.approx(
        kl + kullback_leibler(c, r), abs=1e-12
    )  # Jeffreys
    assert (
        math.sqrt(js)
        <= math.sqrt(jensen_shannon(r, np.ones(6, int)))
        + math.sqrt(jensen_shannon(np.ones(6, int), c))
        + 1e-9
    )


@given(counts, counts)
def test_coarser_bins_never_show_more(r: np.ndarray, c: np.ndarray) -> None:
    coarse_r, coarse_c = r.reshape(3, 2).sum(axis=1), c.reshape(3, 2).sum(axis=1)
    assert jensen_shannon(coarse_r, coarse_c) <= jensen_shannon(r, c) + 1e-12


@pytest.mark.parametrize(("r", "c", "js"), [([3, 0], [0, 7], 1.0), ([5, 5], [1, 1], 0.0)])
def test_jensen_shannon_counts_in_bits(r: list[int], c: list[int], js: float) -> None:
    assert jensen_shannon(np.array(r), np.array(c)) == js


def ks_statistic(r: np.ndarray, c: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of its p-value, for few rows
        return float(stats.ks_2samp(r, c, method="asymp").statistic)


@given(samples, samples, st.integers(2, 12))
def test_counts_bound_the_statistic_of_the_raw_samples(
    r: np.ndarray, c: np.ndarray, bins: int
) -> None:
    edges = quantile_edges(r, bins)
    lowest, highest = ks_bounds(bin_counts(r, edges), bin_counts(c, edges))
    exact = ks_statistic(r, c)
    assert lowest - 1e-12 <= exact <= highest + 1e-12
    low, high = min(r.min(), c.min()), max(r.max(), c.max())
    spread, error = wasserstein_of_counts(
        bin_counts(r, edges), bin_counts(c, edges), edges, min(low, edges[0]), max(high, edges[-1])
    )
    assert spread == pytest.approx(stats.wasserstein_distance(r, c), abs=error + 1e-9)


def test_a_thousand_bins_give_the_ks_statistic_to_a_thousandth() -> None:
    random = np.random.default_rng(1)
    r, c = random.lognormal(size=50_000), random.lognormal(0.05, 1.1, size=40_000)
    edges = quantile_edges(r, 1000)
    lowest, highest = ks_bounds(bin_counts(r, edges), bin_counts(c, edges))
    assert highest - lowest < 0.0025
    assert lowest <= ks_statistic(r, c) <= highest


def test_wasserstein_of_many_bins_is_that_of_the_samples() -> None:
    random = np.random.default_rng(2)
    r, c = random.normal(size=20_000), random.normal(0.3, 0.8, size=20_000)
    edges = quantile_edges(r, 200)
    low, high = min(r.min(), c.min()), max(r.max(), c.max())
    found, error = wasserstein_of_counts(
        bin_counts(r, edges), bin_counts(c, edges), edges, low, high
    )
    assert found == pytest.approx(stats.wasserstein_distance(r, c), rel=0.02)
    assert error < 0.4


def test_what_cannot_be_compared_is_refused() -> None:
    few, empty = np.array([1, 2]), np.array([0, 0])
    for function in (kullback_leibler, jensen_shannon, ks_bounds):
        with pytest.raises(ValueError, match="same bins"):
            function(few, np.array([1, 2, 3]))
        with pytest.raises(ValueError, match="rows on both sides"):
            function(few, empty)
    with pytest.raises(ValueError, match="expected 1 edges between low and high"):
        wasserstein_of_counts(few, few, np.array([1.0]), 2.0, 3.0)
