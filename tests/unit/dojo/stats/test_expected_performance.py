"""Performance before labels, against labels drawn from the scores and against brute force.

It is blind where the module says so.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score

from dojo.stats.scores.calibration import isotonic_rates
from dojo.stats.scores.classification import pr_auc
from dojo.stats.scores.expected_performance import expected_average_precision


def fraud_scores(rows: int, seed: int) -> np.ndarray:
    """Scores like a fraud model's: 1 % fraud, most near 0, a few near 1."""
    random = np.random.default_rng(seed)
    return np.where(
        random.random(rows) < 0.012, random.beta(3, 1.5, rows), random.beta(0.3, 60, rows)
    )


def binned(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and mean score per bin. The bins have equal width in log-odds."""
    edges = 1 / (1 + np.exp(-np.arange(-230, 231) / 20))
    at = np.searchsorted(edges, scores)
    counts = np.bincount(at, minlength=len(edges) + 1)
    return counts, np.bincount(at, weights=scores, minlength=len(counts)) / np.maximum(counts, 1)


def test_it_is_what_labels_drawn_from_the_scores_say_on_average() -> None:
    scores, random = fraud_scores(20_000, 1), np.random.default_rng(2)
    drawn = [
        average_precision_score((random.random(len(scores)) < scores).astype(int), scores)
        for _ in range(200)
    ]
    assert expected_average_precision(*binned(scores)) == pytest.approx(np.mean(drawn), rel=0.01)


def test_a_few_frauds_are_estimated_without_bias_too() -> None:
    """A fraud's precision counts the fraud itself.

    Without it, the PR-AUC of twenty positives would be 0.02 too low.
    """
    scores, random = fraud_scores(1500, 3), np.random.default_rng(4)
    drawn = [
        pr_auc(labels, scores)
        for labels in (random.random((1000, len(scores))) < scores).astype(int)
        if labels.any()
    ]
    assert expected_average_precision(*binned(scores)) == pytest.approx(np.mean(drawn), abs=0.01)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.just(0.0) | st.floats(1e-6, 1)), min_size=1, max_size=8
    )
)
def test_the_area_of_counts_is_the_sum_over_their_rows(bins: list[tuple[int, float]]) -> None:
    """Compare with the definition, row by row."""
    counts, p = np.array([n for n, _ in bins]), np.array([share for _, share in bins])
    positives = float(counts @ p)
    area, above, positives = 0.0, 0, 0.0
    for n, share in reversed(bins):
        for _ in range(n):
            area += share * (positives + 1) / (above + 1)
            above, positives = above + 1, positives + share
    found = expected_average_precision(counts, p)
    if positives:
        assert found == pytest.approx(area / positives, rel=1e-5)
        assert 0 < found <= 1 + 1e-9
    else:
        assert math.isnan(found)


def test_scores_that_are_certain_are_judged_like_labels() -> None:
    labels, ranking = np.array([1.0, 0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.7, 0.8, 0.9])
    found = expected_average_precision(np.ones(5, dtype=int), labels)
    assert found == pytest.approx(average_precision_score(labels, ranking))


def test_it_sees_inputs_that_make_the_model_less_sure() -> None:
    scores = fraud_scores(20_000, 6)
    blurred = 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) * 0.5 - 1.5)))
    assert (
        expected_average_precision(*binned(blurred))
        < expected_average_precision(*binned(scores)) - 0.2
    )


def test_it_is_blind_to_concept_drift() -> None:
    """The module states this limit.

    Half of the fraudsters now look like everyone else, and no score changes.
    """
    scores, random = fraud_scores(20_000, 7), np.random.default_rng(8)
    before = (random.random(len(scores)) < scores).astype(int)
    moved = random.random(len(scores)) < 0.5
    after = np.where(moved, random.permutation(before), before)
    estimate = expected_average_precision(*binned(scores))
    assert estimate == pytest.approx(pr_auc(before, scores), abs=0.08)  # some 250 positives
    assert pr_auc(after, scores) < estimate - 0.2


def test_miscalibrated_scores_are_read_through_the_holdouts_rates() -> None:
    true, random = fraud_scores(60_000, 9), np.random.default_rng(10)
    boasting = np.sqrt(true)
    holdout, window = slice(0, 40_000), slice(40_000, None)
    labels = (random.random(len(true)) < true).astype(int)
    all_rows, positives = (
        binned(boasting[holdout])[0],
        binned(boasting[holdout][labels[holdout] == 1])[0],
    )
    counts, means = binned(boasting[window])
    truth = pr_auc(labels[window], boasting[window])
    assert expected_average_precision(counts, isotonic_rates(positives, all_rows)) == pytest.approx(
        truth, abs=0.06
    )
    assert abs(expected_average_precision(counts, means) - truth) > 0.1


counted = st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), min_size=1, max_size=30)


@given(counted)
def test_isotonic_rates_are_scikit_learns(bins: list[tuple[int, float]]) -> None:
    rows = np.array([n for n, _ in bins])
    positives = np.array([round(n * share) for n, share in bins])
    filled = rows > 0
    if not filled.any():
        return
    found = isotonic_rates(positives, rows)
    expected = IsotonicRegression().fit_transform(
        np.flatnonzero(filled), positives[filled] / rows[filled], sample_weight=rows[filled]
    )
    np.testing.assert_allclose(found[filled], expected, atol=1e-12)
    assert (np.diff(found) >= 0).all()


def test_wrong_input_is_refused() -> None:
    for wrong in (1.5, math.nan):
        with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
            expected_average_precision(np.array([1]), np.array([wrong]))
    with pytest.raises(ValueError, match="as many probabilities"):
        expected_average_precision(np.array([1, 2]), np.array([0.5]))
    with pytest.raises(ValueError, match="needs rows"):
        isotonic_rates(np.array([0]), np.array([0]))
    with pytest.raises(ValueError, match="positives <= rows"):
        isotonic_rates(np.array([2]), np.array([1]))


def test_a_window_without_rows_promises_nothing() -> None:
    assert math.isnan(expected_average_precision(np.zeros(3, dtype=int), np.full(3, 0.5)))
