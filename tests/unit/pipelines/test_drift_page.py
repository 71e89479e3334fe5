"""A drift report's statements about all features together."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipelines.drift_report.page import told_apart
from tests.support.monitor_events import spec

ROWS = 1500
DRIFT = spec().drift


def side(seed: int, shift: float = 0.0) -> pl.DataFrame:
    """Make ten features that each move by `shift` standard deviations.

    Also an hour that always differs, and the scores.
    """
    random = np.random.default_rng(seed)
    features = {f"feature_{at}": random.normal(shift, 1, ROWS) for at in range(10)}
    calendar = dict.fromkeys(DRIFT.calendar, np.full(ROWS, float(seed)))
    return pl.DataFrame({**features, **calendar, "score": np.full(ROWS, float(seed))})


def test_equal_sides_cannot_be_told_apart_by_the_hour_or_the_scores() -> None:
    assert DRIFT.calendar
    assert told_apart(side(1), side(2), DRIFT).startswith(
        "cannot be told apart beyond chance: AUC 0."
    )


def test_ten_small_shifts_together_are_seen() -> None:
    said = told_apart(side(1), side(2, shift=0.12), DRIFT)
    assert said.startswith("can be told apart: AUC 0.6")
    assert "each alone: feature_" in said


@pytest.mark.parametrize("rows", [0, 3])
def test_too_few_rows_are_said_to_be_too_few(rows: int) -> None:
    assert (
        told_apart(side(1), side(2).head(rows), DRIFT) == f"not judged: {rows} rows and 10 features"
    )
