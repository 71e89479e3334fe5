"""dojo/stats/distances/classifier_drift.py: its findings, limits and rate of false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from dojo.stats.distances.classifier_drift import (
    RIDGE,
    auc_with_deviation,
    classifier_drift,
    logistic_regression,
)

NAMES = ("a", "b", "c", "d")


def rows(seed: int, count: int = 600) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(size=(count, len(NAMES)))


def test_the_regression_is_scikit_learns() -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(400, 3))
    labels = (random.random(400) < 1 / (1 + np.exp(-inputs @ [1.0, -2.0, 0.0] - 0.5))).astype(float)
    expected = LogisticRegression(C=1 / RIDGE, tol=1e-8).fit(inputs, labels)
    found = logistic_regression(np.column_stack([np.ones(400), inputs]), labels)
    np.testing.assert_allclose(found, [*expected.intercept_, *expected.coef_[0]], atol=1e-4)


labelled = arrays(
    np.float64, st.tuples(st.integers(4, 40), st.just(2)), elements=st.integers(0, 6).map(float)
)


@given(labelled)
def test_the_auc_is_scikit_learns_and_its_deviation_the_definitions(pairs: np.ndarray) -> None:
    labels, scores = (pairs[:, 0] > 3).astype(float), pairs[:, 1]
    positive, negative = scores[labels == 1], scores[labels == 0]
    if min(len(positive), len(negative)) < 2:
        with pytest.raises(ValueError, match="two rows of each class"):
            auc_with_deviation(labels, scores)
        return
    auc, deviation = auc_with_deviation(labels, scores)
    assert auc == pytest.approx(roc_auc_score(labels, scores))
    wins = (positive[:, None] > negative).astype(float) + 0.5 * (positive[:, None] == negative)
    variance = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(
        negative
    )
    assert deviation == pytest.approx(np.sqrt(variance))


def test_without_drift_it_alarms_about_as_often_as_stated() -> None:
    found = [
        classifier_drift(NAMES, rows(2 * n, 250), rows(2 * n + 1, 250), seed=n) for n in range(300)
    ]
    assert np.mean([f.p_value < 0.05 for f in found]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean([f.auc for f in found]) == pytest.approx(0.5, abs=0.02)


def test_a_little_of_each_feature_is_seen_together() -> None:
    reference, current = (
        rows(1, 1500),
        rows(2, 1500) * np.exp(0.12),
    )  # an eighth of a standard deviation each
    found = classifier_drift(NAMES, reference, current, seed=1)
    assert found.p_value < 1e-4
    assert found.low < found.auc < found.high
    assert found.auc > found.strongest[0][1]


def test_a_shift_a_spread_and_a_flood_of_nulls_are_seen_and_named() -> None:
    reference = rows(3)
    wider = rows(4)
    wider[:, 1] = wider[:, 1] ** 2  # same median, other spread
    assert classifier_drift(NAMES, reference, wider, seed=1).p_value < 1e-6
    shifted, nulls = rows(5), rows(6)
    shifted[:, 2] *= 2
    nulls[::3, 3] = np.nan
    for drifted, name in ((shifted, "c"), (nulls, "d")):
        found = classifier_drift(NAMES, reference, drifted, seed=1)
        assert found.p_value < 1e-6
        assert found.strongest[0][0] == name


def test_it_is_blind_to_a_change_of_correlation_alone() -> None:
    """The module states this limit."""
    random = np.random.default_rng(7)
    together = random.normal(size=(1500, 1)) + 0.1 * random.normal(size=(1500, 2))
    apart = np.column_stack(
        [random.permutation(together[:, 0]), random.permutation(together[:, 1])]
    )
    assert classifier_drift(("a", "b"), together, apart, seed=1).p_value > 0.01


def test_units_and_outliers_change_nothing() -> None:
    reference, current = rows(8), rows(9) * 1.2
    found = classifier_drift(NAMES, reference, current, seed=1)
    assert classifier_drift(NAMES, np.log(reference) * 100, np.log(current) * 100, seed=1) == found
    current[current > 8] = 1e12
    assert classifier_drift(NAMES, reference, current, seed=1).auc == pytest.approx(
        found.auc, abs=0.01
    )


def test_two_different_worlds_are_told_apart_for_certain() -> None:
    found = classifier_drift(NAMES, rows(10), rows(11) + 100, seed=1)
    assert (found.auc, found.low, found.high, found.p_value) == (1.0, 1.0, 1.0, 0.0)


def test_the_same_seed_gives_the_same_answer() -> None:
    reference, current = rows(12), rows(13)
    assert classifier_drift(NAMES, reference, current, seed=5) == classifier_drift(
        NAMES, reference, current, seed=5
    )


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(rows, 4\) on both sides"):
        classifier_drift(NAMES, rows(1), rows(1)[:, :3], seed=1)
    with pytest.raises(ValueError, match="at least 5 rows a side"):
        classifier_drift(NAMES, rows(1), rows(1)[:4], seed=1)
