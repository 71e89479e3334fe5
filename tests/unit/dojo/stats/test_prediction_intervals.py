"""Prediction intervals against their definition, their promise and scikit-learn."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from dojo.stats.inference.prediction_intervals import (
    conformal_offsets,
    inside,
    pinball_losses,
    rows_needed,
)

coverages = st.integers(50, 99)  # percent


@given(rows=st.integers(1, 400), percent=coverages)
def test_ends_are_the_ranks_that_give_a_new_residual_its_probability(
    rows: int, percent: int
) -> None:
    """Residuals 1 to n lie between ends that leave whole numbers of ranks beyond each."""
    tail = Fraction(100 - percent, 200)
    rank = math.floor((rows + 1) * tail)
    coverage = percent / 100
    if rank == 0:
        assert rows < rows_needed(coverage)
        with pytest.raises(ValueError, match=f"needs {rows_needed(coverage)} rows"):
            conformal_offsets(np.arange(1.0, rows + 1), coverage)
        return
    assert rows >= rows_needed(coverage)
    shuffled = np.random.default_rng(rows).permutation(np.arange(1.0, rows + 1))
    low, high = conformal_offsets(shuffled, coverage)
    assert (low, high) == (rank, rows + 1 - rank)
    # A new residual falls in one of rows + 1 gaps. high - low of them lie between the ends.
    assert Fraction(int(high - low), rows + 1) >= Fraction(percent, 100)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(20, 60), tail=st.floats(0, 1.5))
def test_the_promise_is_kept_on_exchangeable_rows_however_long_their_tail_is(
    seed: int, rows: int, tail: float
) -> None:
    """Over 2,000 versions with few rows each. Without the correction they cover too little."""
    versions, coverage = 2_000, 0.8
    drawn = np.random.default_rng(seed).lognormal(0, tail + 0.01, (versions, rows + 1))
    kept = sum(
        low <= new <= high
        for *old, new in drawn
        for low, high in [conformal_offsets(np.array(old), coverage)]
    )
    error = math.sqrt(coverage * (1 - coverage) / versions)
    exact = 1 - 2 * math.floor(round((rows + 1) * 0.1, 9)) / (rows + 1)
    assert exact >= coverage - 1e-9
    assert kept / versions == pytest.approx(exact, abs=4.5 * error)


def test_an_end_belongs_to_its_interval() -> None:
    labels = np.array([1.0, 2.0, 3.0, 4.0])
    assert inside(labels, np.full(4, 2.0), np.full(4, 3.0)).tolist() == [False, True, True, False]


@given(
    rows=st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1),
    percent=st.integers(1, 99),
)
def test_pinball_losses_are_scikit_learns(rows: list[tuple[float, float]], percent: int) -> None:
    labels, ends = (np.array(column) for column in zip(*rows, strict=True))
    found = pinball_losses(labels, ends, percent / 100)
    assert found.shape == labels.shape
    wanted = mean_pinball_loss(labels, ends, alpha=percent / 100)
    assert found.mean() == pytest.approx(wanted, abs=1e-9)
