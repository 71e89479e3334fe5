"""Performance before labels: against labels drawn from the scores, against brute force, and blind where it says that it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score

from dojo.stats.scores.calibration import isotonic_rates
from dojo.stats.scores.classification import pr_auc
from dojo.stats.scores.expected_performance import expected_performance, expected_performance_of_counts

THRESHOLD = 0.3

probabilities = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


def fraud_scores(rows: int, seed: int) -> np.ndarray:
    """Scores like a fraud model's: 1 % fraud, most near 0, a few near 1."""
    random = np.random.default_rng(seed)
    return np.where(random.random(rows) < 0.012, random.beta(3, 1.5, rows), random.beta(0.3, 60, rows))


def binned(scores: np.ndarray, threshold: float = THRESHOLD) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows and mean score per bin, of equal width in log-odds, and the first bin that is flagged: the threshold is an edge."""
    edges = np.union1d(1 / (1 + np.exp(-np.arange(-230, 231) / 20)), [np.nextafter(threshold, -np.inf)])
    at = np.searchsorted(edges, scores)
    counts = np.bincount(at, minlength=len(edges) + 1)
    means = np.bincount(at, weights=scores, minlength=len(counts)) / np.maximum(counts, 1)
    return counts, means, int(np.searchsorted(edges, threshold))


def realised(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float, float, float]:
    flagged = scores >= THRESHOLD
    return (
        labels[flagged].mean(),
        flagged[labels == 1].mean(),
        flagged[labels == 0].mean(),
        average_precision_score(labels, scores),
    )


def test_it_is_what_labels_drawn_from_the_scores_say_on_average() -> None:
    scores, random = fraud_scores(20_000, 1), np.random.default_rng(2)
    drawn = np.array([realised((random.random(len(scores)) < scores).astype(int), scores) for _ in range(200)])
    found = expected_performance(scores, THRESHOLD)
    truth = drawn.mean(axis=0)
    assert found.positives == pytest.approx(scores.sum())
    assert (found.precision, found.recall, found.false_positive_rate, found.pr_auc) == pytest.approx(tuple(truth), rel=0.01)
    assert found.recall_std == pytest.approx(drawn[:, 1].std(), rel=0.2)


def test_a_few_frauds_are_estimated_without_bias_too() -> None:
    """A fraud's precision counts the fraud itself: left out, PR-AUC of twenty frauds would be 0.02 short."""
    scores, random = fraud_scores(1500, 3), np.random.default_rng(4)
    drawn = [pr_auc(labels, scores) for labels in (random.random((1000, len(scores))) < scores).astype(int) if labels.any()]
    assert expected_performance(scores, THRESHOLD).pr_auc == pytest.approx(np.mean(drawn), abs=0.01)


def test_counts_give_what_the_rows_give() -> None:
    scores = fraud_scores(20_000, 5)
    counted = expected_performance_of_counts(*binned(scores))
    raw = expected_performance(scores, THRESHOLD)
    assert (counted.rows, counted.flagged) == (raw.rows, raw.flagged)
    for name in ("positives", "precision", "recall", "false_positive_rate"):
        assert getattr(counted, name) == pytest.approx(getattr(raw, name), rel=1e-9), name
    assert counted.pr_auc == pytest.approx(raw.pr_auc, abs=0.002)
    assert counted.recall_std == pytest.approx(raw.recall_std, rel=0.01)


@given(st.lists(st.tuples(st.integers(0, 9), st.just(0.0) | st.floats(1e-6, 1)), min_size=1, max_size=8))
def test_the_area_of_counts_is_the_sum_over_their_rows(bins: list[tuple[int, float]]) -> None:
    """Against the definition, row by row."""
    counts, p = np.array([n for n, _ in bins]), np.array([share for _, share in bins])
    positives = float(counts @ p)
    area, above, frauds = 0.0, 0, 0.0
    for n, share in reversed(bins):
        for _ in range(n):
            area += share * (frauds + 1) / (above + 1)
            above, frauds = above + 1, frauds + share
    found = expected_performance_of_counts(counts, p, 0).pr_auc
    if positives:
        assert found == pytest.approx(area / positives, rel=1e-5)
    else:
        assert math.isnan(found)


@given(probabilities)
def test_rates_are_rates_and_do_not_depend_on_the_rows_order(p: np.ndarray) -> None:
    found = expected_performance(p, 0.5)
    for value in (found.precision, found.recall, found.false_positive_rate, found.pr_auc):
        assert math.isnan(value) or -1e-9 <= value <= 1 + 1e-9
    again = expected_performance(p[::-1], 0.5)
    assert (again.recall, again.pr_auc) == pytest.approx((found.recall, found.pr_auc), nan_ok=True)


def test_scores_that_are_certain_are_judged_like_labels() -> None:
    labels = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    ranking = np.array([0.9, 0.8, 0.7, 0.7, 0.2, 0.1])
    found = expected_performance(labels, 0.7, ranking)
    assert found.pr_auc == pytest.approx(average_precision_score(labels, ranking))
    assert (found.flagged, found.precision, found.recall) == (4, 0.5, pytest.approx(2 / 3))
    assert found.recall_std == 0


def test_it_sees_inputs_that_make_the_model_less_sure() -> None:
    scores = fraud_scores(20_000, 6)
    blurred = 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) * 0.5 - 1.5)))
    assert expected_performance(blurred, THRESHOLD).pr_auc < expected_performance(scores, THRESHOLD).pr_auc - 0.2


def test_it_is_blind_to_concept_drift() -> None:
    """The limit that the module states: half of the fraudsters now look like everybody, and no score changes."""
    scores, random = fraud_scores(20_000, 7), np.random.default_rng(8)
    before = (random.random(len(scores)) < scores).astype(int)
    moved = random.random(len(scores)) < 0.5
    after = np.where(moved, random.permutation(before), before)
    estimate = expected_performance(scores, THRESHOLD)
    assert estimate.pr_auc == pytest.approx(pr_auc(before, scores), abs=0.08)  # some 250 frauds
    assert pr_auc(after, scores) < estimate.pr_auc - 0.2


def test_miscalibrated_scores_are_read_through_the_holdouts_rates() -> None:
    true, random = fraud_scores(60_000, 9), np.random.default_rng(10)
    boasting = np.sqrt(true)
    holdout, window = slice(0, 40_000), slice(40_000, None)
    labels = (random.random(len(true)) < true).astype(int)
    all_rows, frauds = binned(boasting[holdout], 0.5)[0], binned(boasting[holdout][labels[holdout] == 1], 0.5)[0]
    rates = isotonic_rates(frauds, all_rows)
    counts, means, first_flagged = binned(boasting[window], 0.5)
    naive = expected_performance_of_counts(counts, means, first_flagged)
    found = expected_performance_of_counts(counts, rates, first_flagged)
    precision = labels[window][boasting[window] >= 0.5].mean()
    assert found.precision == pytest.approx(precision, abs=0.06)
    assert naive.precision > precision + 0.1
    assert found.pr_auc == pytest.approx(pr_auc(labels[window], boasting[window]), abs=0.06)


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
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        expected_performance(np.array([1.5]), 0.5)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        expected_performance(np.array([math.nan]), 0.5)
    with pytest.raises(ValueError, match="as many scores"):
        expected_performance(np.array([0.5]), 0.5, np.array([0.5, 0.1]))
    with pytest.raises(ValueError, match="as many probabilities"):
        expected_performance_of_counts(np.array([1, 2]), np.array([0.5]), 0)
    with pytest.raises(ValueError, match="needs rows"):
        isotonic_rates(np.array([0]), np.array([0]))
    with pytest.raises(ValueError, match="positives <= rows"):
        isotonic_rates(np.array([2]), np.array([1]))


def test_a_window_without_rows_promises_nothing() -> None:
    empty = expected_performance(np.array([]), THRESHOLD)
    assert (empty.rows, empty.flagged, empty.positives) == (0, 0, 0)
    assert math.isnan(empty.recall)
    assert math.isnan(empty.pr_auc)
