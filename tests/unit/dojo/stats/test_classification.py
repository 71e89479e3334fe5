"""dojo/stats/scores/classification.py against scikit-learn, hand-made cases and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve as sk_calibration_curve

from dojo.stats.scores.classification import (
    brier_score,
    calibration_curve,
    entity_precision_at_k,
    expected_calibration_error,
    pr_auc,
    precision_at_fpr,
    recall_at_precision,
    roc_auc,
    threshold_at_fpr,
)

# Few distinct scores make many ties. Both classes occur.
rows = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=60).filter(
    lambda rs: 0 < sum(label for label, _ in rs) < len(rs)
)


def arrays(rs: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([int(label) for label, _ in rs]), np.array([score / 8 for _, score in rs])


def rare_class(size: int = 5000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(size) < 0.02).astype(int)
    return labels, np.round(1 / (1 + np.exp(-(random.normal(size=size) + 2 * labels - 2))), 3)


@given(rows)
def test_areas_agree_with_scikit_learn_also_with_ties(rs: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rs)
    assert pr_auc(labels, scores) == pytest.approx(sk.average_precision_score(labels, scores))
    assert roc_auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores))


@given(rows, st.floats(0.01, 0.99))
def test_the_threshold_is_the_lowest_score_that_keeps_the_false_positive_rate(
    rs: list[tuple[bool, int]], rate: float
) -> None:
    labels, scores = arrays(rs)
    negatives = scores[labels == 0]
    threshold = threshold_at_fpr(labels, scores, rate)
    assert np.mean(negatives >= threshold) <= rate
    lower = scores[scores < threshold]
    if len(lower):
        assert np.mean(negatives >= lower.max()) > rate


@given(rows, st.floats(0.01, 0.99))
def test_precision_at_a_false_positive_rate_agrees_with_scikit_learns_roc_curve(
    rs: list[tuple[bool, int]], rate: float
) -> None:
    labels, scores = arrays(rs)
    false_rate, true_rate, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    # roc_curve divides and this module multiplies. So 3/7 and 0.42857 may fall on different sides
    # of a limit.
    last = np.flatnonzero(np.round(false_rate * (labels == 0).sum()) <= rate * (labels == 0).sum())[
        -1
    ]
    true, false = true_rate[last] * labels.sum(), false_rate[last] * (labels == 0).sum()
    expected = true / (true + false) if true + false else 0.0
    assert precision_at_fpr(labels, scores, rate) == pytest.approx(expected)


@given(rows, st.floats(0.01, 0.99))
def test_recall_at_a_precision_agrees_with_scikit_learns_curve(
    rs: list[tuple[bool, int]], wanted: float
) -> None:
    labels, scores = arrays(rs)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    reached = precision[:-1] >= wanted  # the last point has no threshold
    assert recall_at_precision(labels, scores, wanted) == pytest.approx(
        recall[:-1][reached].max(initial=0.0)
    )


@given(rows)
def test_probability_errors_agree_with_scikit_learn(rs: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rs)
    assert brier_score(labels, scores) == pytest.approx(sk.brier_score_loss(labels, scores))
    assert 0 <= expected_calibration_error(labels, scores) <= 1


def test_the_calibration_curve_agrees_with_scikit_learn() -> None:
    labels, scores = rare_class()
    scores = np.clip(scores + 0.0005, 0, 1)  # off the bins' edges, where the two conventions differ
    shares, means = sk_calibration_curve(labels, scores, n_bins=10)
    found_means, found_shares, counts = calibration_curve(labels, scores, 10)
    np.testing.assert_allclose(found_means[counts > 0], means)
    np.testing.assert_allclose(found_shares[counts > 0], shares)
    expected = np.sum(np.abs(means - shares) * counts[counts > 0]) / len(labels)
    assert expected_calibration_error(labels, scores) == pytest.approx(expected)


def test_a_calibrated_score_has_no_calibration_error_and_a_certain_wrong_one_the_most() -> None:
    labels, scores = np.array([0, 0, 0, 1] * 10), np.full(40, 0.25)
    assert expected_calibration_error(labels, scores) == pytest.approx(0)
    assert expected_calibration_error(np.array([0, 0]), np.array([1.0, 1.0])) == 1
    assert brier_score(np.array([0, 0]), np.array([1.0, 1.0])) == 1


@given(rows)
def test_ranking_metrics_do_not_change_under_a_monotone_transformation(
    rs: list[tuple[bool, int]],
) -> None:
    labels, scores = arrays(rs)
    for metric in (pr_auc, roc_auc, precision_at_fpr, recall_at_precision):
        assert metric(labels, scores) == pytest.approx(metric(labels, np.exp(3 * scores)))


@given(rows, st.randoms())
def test_the_order_of_rows_does_not_matter(rs: list[tuple[bool, int]], random: object) -> None:
    labels, scores = arrays(rs)
    order = np.arange(len(labels))
    random.shuffle(order)  # type: ignore[attr-defined]
    for metric in (pr_auc, roc_auc, precision_at_fpr, recall_at_precision, brier_score):
        assert metric(labels, scores) == pytest.approx(metric(labels[order], scores[order]))


def test_a_tie_at_the_top_that_holds_too_many_negatives_flags_nothing() -> None:
    labels, scores = np.array([1, 0, 0, 0]), np.array([0.9, 0.9, 0.9, 0.1])
    threshold = threshold_at_fpr(labels, scores, 0.01)
    assert not (scores >= threshold).any()
    assert precision_at_fpr(labels, scores, 0.01) == 0


@pytest.mark.parametrize("metric", [pr_auc, roc_auc, precision_at_fpr, recall_at_precision])
@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_only_is_refused_with_the_counts(metric: object, labels: list[int]) -> None:
    with pytest.raises(
        ValueError, match=rf"both classes, got {sum(labels)} positives in {len(labels)} rows"
    ):
        metric(np.array(labels), np.linspace(0, 1, len(labels)))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.1], "same shape"),
        ([0, 2], [0.1, 0.2], "labels must be 0 or 1, got .2."),
        ([0, 1], [0.1, np.nan], "1 of 2 are not"),
        ([0, 1], [0.1, np.inf], "1 of 2 are not"),
    ],
)
def test_wrong_input_is_refused(labels: list[int], scores: list[float], message: str) -> None:
    for metric in (pr_auc, brier_score):
        with pytest.raises(ValueError, match=message):
            metric(np.array(labels), np.array(scores))


def test_impossible_parameters_are_refused() -> None:
    labels, scores = np.array([0, 1]), np.array([0.1, 0.9])
    with pytest.raises(ValueError, match="false_positive_rate must be a fraction"):
        threshold_at_fpr(labels, scores, 1.0)
    with pytest.raises(ValueError, match="precision must be a fraction"):
        recall_at_precision(labels, scores, 0.0)
    with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\]"):
        brier_score(labels, np.array([0.1, 1.1]))
    with pytest.raises(ValueError, match="bins must be >= 1"):
        calibration_curve(labels, scores, 0)
    with pytest.raises(ValueError, match="k must be >= 1"):
        entity_precision_at_k(labels, scores, ["a", "b"], np.array([0, 0]), 0)


def book_card_precision(
    labels: np.ndarray, scores: np.ndarray, cards: np.ndarray, days: np.ndarray, k: int
) -> float:
    """Compute the book's `card_precision_top_k` (chapter 4) with its own pandas code."""
    import pandas as pd

    frame = pd.DataFrame(
        {"day": days, "predictions": scores, "CUSTOMER_ID": cards, "TX_FRAUD": labels}
    )
    detected: list[str] = []
    per_day = []
    for day in sorted(frame.day.unique()):
        of_day = frame[(frame.day == day) & ~frame.CUSTOMER_ID.isin(detected)]
        by_card = (
            of_day.groupby("CUSTOMER_ID")
            .max()
            .sort_values(by="predictions", ascending=False)
            .reset_index()
        )
        top = by_card.head(k)
        found = list(top[top.TX_FRAUD == 1].CUSTOMER_ID)
        per_day.append(len(found) / k)
        detected.extend(found)
    return float(np.mean(per_day))


@pytest.mark.parametrize("k", [1, 5, 20, 1000])
def test_card_precision_agrees_with_the_books_code(k: int) -> None:
    random = np.random.default_rng(k)
    size = 3000
    labels, cards = (
        (random.random(size) < 0.05).astype(int),
        random.integers(0, 120, size).astype(str),
    )
    days, scores = random.integers(0, 5, size), random.permutation(size) / size + 0.3 * labels
    assert entity_precision_at_k(labels, scores, cards, days, k) == pytest.approx(
        book_card_precision(labels, scores, cards, days, k)
    )


def test_a_found_card_is_left_out_on_later_days() -> None:
    labels, scores = np.array([1, 0, 1, 1]), np.array([0.9, 0.1, 0.9, 0.8])
    cards, days = ["a", "b", "a", "c"], np.array([0, 0, 1, 1])
    # Day 0 finds a. On day 1 a is blocked, so the only check goes to c.
    assert entity_precision_at_k(labels, scores, cards, days, k=1) == 1.0
    # A missed card stays. With a low score for a's first fraud, day 0 checks b and day 1 finds a.
    assert entity_precision_at_k(labels, np.array([0.05, 0.1, 0.9, 0.8]), cards, days, k=1) == 0.5
