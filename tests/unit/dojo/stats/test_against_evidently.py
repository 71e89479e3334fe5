"""dojo/stats against Evidently. With the same definition, the figures are the same.

Otherwise a test shows why our definition differs. Evidently is imported when a test needs it,
because each of the suite's workers imports every module of tests.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from dojo.stats.distances.divergence import jensen_shannon, kullback_leibler
from dojo.stats.histograms.binning import bin_counts, population_stability_index, quantile_edges


def theirs(name: str, reference: np.ndarray, current: np.ndarray, kind: str = "num") -> float:
    """Return the statistic of Evidently's test `name`. `kind`: "num" or "cat"."""
    import pandas as pd
    from evidently.legacy.calculations import stattests
    from evidently.legacy.core import ColumnType

    test = getattr(stattests, name)
    return float(test.func(pd.Series(reference), pd.Series(current), ColumnType(kind), 0.1)[0])


def counts_of(values: np.ndarray, names: np.ndarray) -> np.ndarray:
    return np.array([(values == name).sum() for name in names])


def test_divergences_of_few_values_are_evidentlys() -> None:
    """Evidently bins numbers with at most 20 values by value, as these edges do."""
    random = np.random.default_rng(6)
    r, c = random.binomial(4, 0.4, 1500).astype(float), random.binomial(4, 0.5, 900).astype(float)
    edges = np.arange(4.0)
    counted = bin_counts(r, edges), bin_counts(c, edges)
    in_nats = math.sqrt(jensen_shannon(*counted) * math.log(2))
    assert in_nats == pytest.approx(theirs("jensenshannon_stat_test", r, c))
    assert kullback_leibler(counted[1], counted[0]) == pytest.approx(
        theirs("kl_div_stat_test", r, c)
    )  # the reference first
    assert population_stability_index(*counted) == pytest.approx(theirs("psi_stat_test", r, c))


def test_psi_of_categories_is_evidentlys_where_none_is_empty() -> None:
    random = np.random.default_rng(1)
    names = np.array([f"c{n}" for n in range(8)])
    r, c = random.choice(names, 3000, p=np.arange(1, 9) / 36), random.choice(names, 1000)
    counted = counts_of(r, names), counts_of(c, names)
    assert population_stability_index(*counted) == pytest.approx(
        theirs("psi_stat_test", r, c, "cat")
    )


def test_one_outlier_hides_a_shift_from_bins_of_equal_width_and_not_from_quantiles() -> None:
    random = np.random.default_rng(2)
    r, c = random.normal(size=5000), np.append(random.normal(1, size=5000), 1e6)
    edges = quantile_edges(r)
    assert theirs("psi_stat_test", r, c) < 0.01
    assert population_stability_index(bin_counts(r, edges), bin_counts(c, edges)) > 0.8


def test_a_category_of_one_row_is_no_drift_here_and_beyond_evidentlys_threshold_there() -> None:
    """An empty bin counts as half a row here, for any number of rows.

    In Evidently it counts as a share of 0.0001 or far less.
    """
    r = np.array(["visa"] * 40 + ["amex"] * 40)
    c = np.array(["visa"] * 40 + ["amex"] * 39 + ["wallet"])
    names = np.array(["visa", "amex", "wallet"])
    assert population_stability_index(counts_of(r, names), counts_of(c, names)) < 0.02
    assert theirs("psi_stat_test", r, c, "cat") > 0.05
