"""A row with a weight counts like so many rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.stats.inference.bootstrap import relative_gain
from dojo.stats.scores.classification import (
    brier_score,
    expected_calibration_error,
    pr_auc,
    precision_at_fpr,
    recall_at_precision,
    roc_auc,
    threshold_at_fpr,
)

FIGURES: dict[str, Callable[..., float]] = {
    "pr_auc": pr_auc,
    "roc_auc": roc_auc,
    "brier": brier_score,
    "calibration": expected_calibration_error,
    "threshold": lambda labels, scores, weights=None: threshold_at_fpr(
        labels, scores, 0.3, weights
    ),
    "precision": lambda labels, scores, weights=None: precision_at_fpr(
        labels, scores, 0.3, weights
    ),
    "recall": lambda labels, scores, weights=None: recall_at_precision(
        labels, scores, 0.5, weights
    ),
}

# (label, score, weight)
rows = st.lists(
    st.tuples(st.booleans(), st.integers(0, 8), st.integers(1, 5)), min_size=2, max_size=40
).filter(lambda rs: 0 < sum(label for label, _, _ in rs) < len(rs))


@pytest.mark.parametrize("name", FIGURES)
@given(rows=rows)
def test_a_weighted_figure_is_that_of_repeated_rows(
    name: str, rows: list[tuple[bool, int, int]]
) -> None:
    labels = np.array([int(label) for label, _, _ in rows])
    scores = np.array([score / 8 for _, score, _ in rows])
    weights = np.array([weight for _, _, weight in rows])
    figure = FIGURES[name]
    repeated = figure(np.repeat(labels, weights), np.repeat(scores, weights))
    assert figure(labels, scores, weights=weights) == pytest.approx(repeated)


@given(rows)
def test_a_gain_of_weighted_rows_is_that_of_repeated_rows(
    rows: list[tuple[bool, int, int]],
) -> None:
    labels = np.array([int(label) for label, _, _ in rows])
    scores = np.array([score / 8 for _, score, _ in rows])
    weights = np.array([weight for _, _, weight in rows])
    old = np.arange(len(rows)) / len(rows)
    cluster = (np.arange(len(rows)) // 2,)

    def gain(of: np.ndarray, weighted: np.ndarray | None) -> float:
        return relative_gain(
            "pr_auc", labels[of], old[of], scores[of], tuple(way[of] for way in cluster),
            draws=5, confidence=0.9, seed=1, weights=weighted,
        ).value  # fmt: skip

    every, repeated = np.arange(len(rows)), np.repeat(np.arange(len(rows)), weights)
    try:
        expected = gain(repeated, None)
    except ValueError:
        return  # none of the draws held a positive
    assert gain(every, weights) == pytest.approx(expected)


def test_the_draws_of_a_gain_are_weighted_too() -> None:
    """The contender is right only where the weights are. So its gain in each draw follows them."""
    random = np.random.default_rng(2)
    labels = np.tile([1, 0], 200)
    good, bad = labels + random.normal(0, 0.5, 400), labels * 0.0 + random.normal(0, 0.5, 400)
    half = np.arange(400) < 200
    contender, baseline = np.where(half, good, bad), np.where(half, bad, good)

    def gain(weights: np.ndarray) -> tuple[float, float]:
        found = relative_gain(
            "pr_auc", labels, baseline, contender, (np.arange(400),),
            draws=50, confidence=0.95, seed=1, weights=weights,
        )  # fmt: skip
        return found.low, found.high

    assert gain(np.where(half, 30.0, 1.0))[0] > 0
    assert gain(np.where(half, 1.0, 30.0))[1] < 0


@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, -1.0], [1.0, np.inf], [1.0, np.nan], [1.0]])
def test_a_weight_that_makes_no_sense_is_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="expected 2 weights above 0"):
        pr_auc(np.array([0, 1]), np.array([0.1, 0.9]), np.array(weights))
