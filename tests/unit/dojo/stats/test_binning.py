"""dojo/stats/histograms/binning.py: fixed bins, PSI and the correlation ratio."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import f_oneway

from dojo.stats.histograms.binning import (
    bin_counts,
    correlation_ratio,
    population_stability_index,
    quantile_edges,
)

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
    assert psi == pytest.approx(
        0.93, abs=0.1
    )  # FACTS: a 1-sd shift is about 1; equal-width bins gave 0.00007


def test_psi_is_the_published_sum() -> None:
    # Worked by hand: (0.6-0.5) ln(0.6/0.5) + (0.4-0.5) ln(0.4/0.5)
    assert population_stability_index(np.array([50, 50]), np.array([60, 40])) == pytest.approx(
        0.1 * np.log(1.2) - 0.1 * np.log(0.8)
    )


def test_psi_without_drift_has_the_expected_mean() -> None:
    random = np.random.default_rng(3)
    reference = random.multinomial(100_000, [0.1] * 10)
    found = [
        population_stability_index(reference, random.multinomial(300, [0.1] * 10))
        for _ in range(400)
    ]
    assert np.mean(found) == pytest.approx(
        9 * (1 / 300 + 1 / 100_000), rel=0.1
    )  # FACTS: (B-1)(1/n + 1/m)


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


@pytest.mark.parametrize(
    "step", [lambda bins: bins, lambda bins: -(bins**3.0), lambda bins: 40.0 * (bins >= 7)]
)
def test_a_column_whose_bins_decide_the_label_explains_all_of_it(
    step: Callable[[np.ndarray], np.ndarray],
) -> None:
    values = np.random.default_rng(4).lognormal(size=2000)
    bins = np.searchsorted(quantile_edges(values), values, side="left")
    assert correlation_ratio(values, step(bins.astype(float))) == pytest.approx(1)


def test_a_column_that_knows_nothing_explains_what_chance_gives_its_bins() -> None:
    random = np.random.default_rng(5)
    found = [
        correlation_ratio(random.normal(size=1000), random.lognormal(size=1000)) for _ in range(300)
    ]
    assert np.mean(found) == pytest.approx(
        9 / 999, rel=0.1
    )  # (bins - 1) / (rows - 1), the mean under independence


def test_a_curve_without_any_correlation_is_seen() -> None:
    """Pearson's example. The correlation coefficient of this pair is 0."""
    values = np.linspace(-1, 1, 2001)
    assert abs(np.corrcoef(values, values**2)[0, 1]) < 1e-9
    assert correlation_ratio(values, values**2) > 0.9


pairs = st.lists(st.tuples(st.integers(-3, 12), st.integers(0, 50)), min_size=1, max_size=100)


@given(pairs, st.floats(-1000, 1000), st.sampled_from([-3.0, 0.01, 7.0]))
def test_the_unit_and_zero_of_labels_do_not_matter(
    rows: list[tuple[int, int]], shift: float, factor: float
) -> None:
    values, labels = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = correlation_ratio(values, labels)
    assert 0 <= found <= 1 + 1e-12
    if len(set(labels)) > 1:  # a shifted constant is no longer exactly constant
        assert correlation_ratio(values, shift + factor * labels) == pytest.approx(found, abs=1e-9)
        assert correlation_ratio(values * 3 + 5, labels) == pytest.approx(found)


@given(pairs.filter(lambda rows: len({label for _, label in rows}) > 1), st.integers(2, 12))
def test_the_correlation_ratio_is_that_of_scipys_analysis_of_variance(
    rows: list[tuple[int, int]], bins: int
) -> None:
    values, labels = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    edges = quantile_edges(values, bins)
    groups = [
        of
        for number in range(len(edges) + 1)
        if len(of := labels[np.searchsorted(edges, values) == number])
    ]
    found = correlation_ratio(values, labels, bins)
    if len(groups) == 1:
        assert found == 0
    elif len(groups) < len(labels) and found < 1 - 1e-9:
        between = f_oneway(*groups).statistic * (len(groups) - 1)
        assert found == pytest.approx(between / (between + len(labels) - len(groups)))


def test_labels_that_are_all_alike_are_explained_by_nothing() -> None:
    assert correlation_ratio(np.arange(10.0), np.full(10, 3.0)) == 0


@pytest.mark.parametrize(
    ("values", "labels", "reason"),
    [
        ([1.0, 2.0], [1.0], r"one label per value, got \(2,\) and \(1,\)"),
        ([1.0, 2.0], [1.0, np.nan], "must be finite, 1 of 2"),
        ([1.0, np.inf], [1.0, 2.0], "must be finite, 1 of 2"),
        ([], [], "needs rows"),
    ],
)
def test_what_has_no_correlation_ratio_is_refused(
    values: list[float], labels: list[float], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        correlation_ratio(np.array(values), np.array(labels))
