"""dojo/stats/histograms/binning.py: fixed bins and PSI."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dojo.stats.histograms.binning import bin_counts, population_stability_index, quantile_edges

columns = arrays(np.float64, st.integers(1, 200), elements=st.integers(-3, 12).map(float))


@given(columns)
def test_every_bin_of_the_reference_holds_rows_unless_it_is_constant(values: np.ndarray) -> None:
    edges = quantile_edges(values)
    counts = bin_counts(values, edges)
    assert (np.diff(edges) > 0).all()
    assert counts.sum() == len(values)
    if len(np.unique(values)) > 1:
        assert (counts > 0).all()


def test_many_distinct_values_give_ten_equal_bins() -> None:
    values = np.random.default_rng(1).lognormal(size=10_000)
    edges = quantile_edges(values)
    assert len(edges) == 9
    np.testing.assert_allclose(bin_counts(values, edges), 1000, atol=1)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.98])
def test_a_flag_gets_one_bin_per_value(share: float) -> None:
    flags = (np.arange(1000) < share * 1000).astype(float)
    counts = bin_counts(flags, quantile_edges(flags))
    assert counts.tolist() == [1000 - share * 1000, share * 1000]


def test_outer_bins_are_open_so_that_an_outlier_cannot_hide_a_shift() -> None:
    random = np.random.default_rng(2)
    reference = random.normal(size=5000)
    edges = quantile_edges(reference)
    shifted = np.append(random.normal(1, size=5000), 1e6)
    psi = population_stability_index(bin_counts(reference, edges), bin_counts(shifted, edges))
    assert psi == pytest.approx(0.93, abs=0.1)  # FACTS: a 1-sd shift is about 1; equal-width bins gave 0.00007


def test_psi_is_the_published_sum() -> None:
    # Worked by hand: (0.6-0.5) ln(0.6/0.5) + (0.4-0.5) ln(0.4/0.5)
    assert population_stability_index(np.array([50, 50]), np.array([60, 40])) == pytest.approx(
        0.1 * np.log(1.2) - 0.1 * np.log(0.8)
    )


def test_psi_without_drift_has_the_expected_mean() -> None:
    random = np.random.default_rng(3)
    reference = random.multinomial(100_000, [0.1] * 10)
    found = [population_stability_index(reference, random.multinomial(300, [0.1] * 10)) for _ in range(400)]
    assert np.mean(found) == pytest.approx(9 * (1 / 300 + 1 / 100_000), rel=0.1)  # FACTS: (B-1)(1/n + 1/m)


counts = arrays(np.int64, 6, elements=st.integers(0, 1000)).filter(lambda c: c.sum() > 0)


@given(counts, counts)
def test_psi_is_never_negative_and_zero_for_the_same_shares(a: np.ndarray, b: np.ndarray) -> None:
    assert population_stability_index(a, b) >= 0
    assert population_stability_index(a, a) == 0
    assert population_stability_index(a, b) == pytest.approx(population_stability_index(b, a))


def test_what_cannot_be_binned_is_refused() -> None:
    with pytest.raises(ValueError, match="needs rows"):
        quantile_edges(np.array([]))
    with pytest.raises(ValueError, match="must be finite, 1 of 2"):
        quantile_edges(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="bins must be >= 2"):
        quantile_edges(np.array([1.0]), bins=1)
    with pytest.raises(ValueError, match="needs rows on both sides"):
        population_stability_index(np.array([1, 2]), np.array([0, 0]))
    with pytest.raises(ValueError, match="same bins"):
        population_stability_index(np.array([1, 2]), np.array([1, 2, 3]))
