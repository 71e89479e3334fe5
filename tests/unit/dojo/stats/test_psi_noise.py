"""dojo/stats/distances/psi_noise.py and chi_square.py: SciPy, simulation, the spec's figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dojo.stats.distances.psi_noise import per_feature_level, psi_critical_value
from dojo.stats.histograms.binning import population_stability_index
from dojo.stats.inference.chi_square import chi_square_quantile, chi_square_tail


@given(st.integers(1, 200), st.floats(1e-12, 0.999))
def test_chi_square_quantiles_are_scipys(degrees: int, tail: float) -> None:
    found = chi_square_quantile(degrees, tail)
    assert found == pytest.approx(stats.chi2.isf(tail, degrees), rel=1e-9)
    assert chi_square_tail(found, degrees) == pytest.approx(tail, rel=1e-9)


@given(st.integers(1, 200), st.floats(0, 500))
def test_chi_square_tails_are_scipys(degrees: int, x: float) -> None:
    assert chi_square_tail(x, degrees) == pytest.approx(
        stats.chi2.sf(x, degrees), rel=1e-9, abs=1e-300
    )


@pytest.mark.parametrize(
    ("degrees", "tail", "published"),
    [(1, 0.05, 3.841), (9, 0.01, 21.666), (9, 0.05, 16.919), (30, 0.001, 59.703)],
)
def test_chi_square_quantiles_are_the_printed_tables(
    degrees: int, tail: float, published: float
) -> None:
    assert chi_square_quantile(degrees, tail) == pytest.approx(published, abs=5e-4)


def quiet_psi(shares: np.ndarray, n: int, m: int, windows: int, seed: int) -> np.ndarray:
    """Return PSI of windows without a change, each against its own reference, shape (windows,)."""
    random = np.random.default_rng(seed)
    return np.array(
        [
            population_stability_index(random.multinomial(n, shares), random.multinomial(m, shares))
            for _ in range(windows)
        ]
    )


TEN = np.full(10, 0.1)
UNEVEN = np.array([0.5, 0.2, 0.1, 0.08, 0.05, 0.03, 0.02, 0.02])


@pytest.mark.parametrize(
    ("shares", "n", "m"),
    [
        (TEN, 60_000, 300),
        (TEN, 2_000, 2_000),
        (TEN, 60_000, 20_000),
        (UNEVEN, 60_000, 300),
        (np.full(2, 0.5), 500, 300),
    ],
)
def test_quiet_windows_exceed_the_critical_value_about_as_often_as_stated(
    shares: np.ndarray, n: int, m: int
) -> None:
    found = quiet_psi(shares, n, m, windows=4000, seed=n + m + len(shares))
    for significance in (0.05, 0.01):
        share = np.mean(found > psi_critical_value(len(shares), n, m, significance=significance))
        # Three standard errors of 4,000 windows, plus half as much for the error of the
        # approximation.
        assert share == pytest.approx(
            significance, abs=3 * np.sqrt(significance / 4000) + significance / 2
        )


def test_bins_of_few_rows_alarm_up_to_three_times_as_often_and_empty_ones_hardly_ever() -> None:
    """The module states this limit."""
    few = np.mean(
        quiet_psi(TEN, 60_000, 50, windows=4000, seed=1)
        > psi_critical_value(10, 60_000, 50, significance=0.01)
    )
    assert 0.015 < few < 0.03
    rare = np.array([0.9] + [0.1 / 9] * 9)
    empty = np.mean(
        quiet_psi(rare, 60_000, 50, windows=4000, seed=2)
        > psi_critical_value(10, 60_000, 50, significance=0.05)
    )
    assert empty < 0.01


def test_over_thirty_features_the_family_alarms_as_stated() -> None:
    random = np.random.default_rng(2)
    reference = 60_000
    critical = psi_critical_value(10, reference, 400, significance=0.05, features=30)
    single = psi_critical_value(10, reference, 400, significance=0.05)
    alarmed, naive = 0, 0
    for _ in range(600):
        found = [
            population_stability_index(
                random.multinomial(reference, TEN), random.multinomial(400, TEN)
            )
            for _ in range(30)
        ]
        alarmed += max(found) > critical
        naive += max(found) > single
    assert alarmed / 600 == pytest.approx(0.05, abs=0.04)
    assert naive / 600 > 0.6  # 1 - 0.95^30 = 0.79, so the level is divided


def test_clusters_alarm_too_often_until_their_excess_is_counted() -> None:
    """60 customers have five payments each, with the same value of the feature.

    The 300 rows are worth 60 rows, a design effect of 5.
    """
    random = np.random.default_rng(3)
    reference = random.multinomial(60_000, TEN)
    found = [
        population_stability_index(reference, 5 * random.multinomial(60, TEN)) for _ in range(2000)
    ]
    naive = np.mean(found > np.float64(psi_critical_value(10, 60_000, 300, significance=0.05)))
    counted = np.mean(
        found > np.float64(psi_critical_value(10, 60_000, 300, significance=0.05, excess=4 / 300))
    )
    assert naive > 0.9
    assert counted < 0.15  # 60 independent rows in ten bins keep the excess of the test above


@pytest.mark.parametrize(("threshold", "rows"), [(0.1, 307), (0.25, 123)])
def test_the_figures_that_the_spec_rests_on(threshold: float, rows: int) -> None:
    # FACTS: 30 features at 1 % for one window, against a large reference. PSI > 0.1 needs 307 rows,
    # PSI > 0.25 needs 123.
    few, many = (
        psi_critical_value(10, 10**9, n, significance=0.01, features=30)
        for n in (int(0.9 * rows), int(1.1 * rows))
    )
    assert many <= threshold <= few


@pytest.mark.parametrize(("rows", "share"), [(100, 0.35), (200, 0.02)])
def test_ten_bins_exceed_a_tenth_by_chance_this_often(rows: int, share: float) -> None:
    assert psi_critical_value(10, 10**9, rows, significance=share) == pytest.approx(0.1, abs=0.005)


@given(st.integers(2, 40), st.integers(1, 10**6), st.floats(0.001, 0.3), st.floats(1e-6, 1))
def test_a_window_counts_as_at_most_one_by_excess_rows(
    bins: int, rows: int, significance: float, excess: float
) -> None:
    bound = psi_critical_value(bins, 10**9, rows, significance=significance, excess=excess)
    without = psi_critical_value(bins, 10**9, rows, significance=significance)
    assert bound > max(without, chi_square_quantile(bins - 1, significance) * excess)


@given(st.floats(0.001, 0.5), st.integers(1, 500))
def test_the_level_of_one_feature_is_sidaks(significance: float, features: int) -> None:
    level = per_feature_level(significance, features)
    assert significance / features <= level * (1 + 1e-12)  # Bonferroni is stricter
    assert 1 - (1 - level) ** features == pytest.approx(significance)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bins": 1}, "bins must be >= 2"),
        ({"reference_rows": 0}, "rows on both sides"),
        ({"current_rows": 0}, "rows on both sides"),
        ({"significance": 1.0}, "significance must lie strictly"),
        ({"features": 0}, "features must be >= 1"),
        ({"excess": -0.1}, "excess must be >= 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, float], message: str) -> None:
    right = {"bins": 10, "reference_rows": 100, "current_rows": 100, "significance": 0.01}
    with pytest.raises(ValueError, match=message):
        psi_critical_value(**{**right, **arguments})


def test_wrong_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="tail must lie strictly"):
        chi_square_quantile(3, 0.0)
    with pytest.raises(ValueError, match="degrees must be >= 1"):
        chi_square_quantile(0, 0.5)
