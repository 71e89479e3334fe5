"""A version is slow when one row, or one full batch, takes longer than the limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from dojo.core.registry.bundle import OnnxScorer
from services.gateway.sandbox import worker
from services.gateway.sandbox.frames import ERROR
from services.gateway.sandbox.pace import BATCH_ROWS, RUNS, VersionPace, measure

LIMIT = 0.01


class Version:
    """Takes `row` seconds for one row and `batch` for more, by a clock that it moves itself."""

    def __init__(self, row: float, batch: float, stalls: Sequence[float] = ()) -> None:
        self.row, self.batch, self.stalls = row, batch, iter(stalls)
        self.now, self.asked = 0.0, list[int]()

    def score(self, rows: np.ndarray) -> None:
        self.asked.append(len(rows))
        self.now += (self.row if len(rows) == 1 else self.batch) + next(self.stalls, 0.0)

    def measured(self) -> VersionPace:
        return measure(self.score, 3, LIMIT, lambda: self.now)


@pytest.mark.parametrize(
    ("a_row", "a_batch", "slow"),
    [(0.0, 0.0, False), (0.02, 0.02, True), (0.0, 0.02, True)],
    ids=["fast", "slow at one row", "slow at a batch"],
)
def test_one_slow_row_or_batch_makes_a_slow_version(
    a_row: float, a_batch: float, slow: bool
) -> None:
    version = Version(a_row, a_batch)
    found = version.measured()
    assert found.is_slow is slow
    assert found.row_seconds == pytest.approx(a_row)
    # A version that is slow at one row is not asked for 64.
    assert version.asked == [1] * RUNS + ([] if a_row else [BATCH_ROWS] * RUNS)


def test_one_stall_of_the_machine_makes_no_version_slow() -> None:
    assert not Version(0.001, 0.002, stalls=[0.02]).measured().is_slow


@pytest.mark.parametrize(("a_row", "slow"), [(0.001, False), (0.02, True)], ids=["fast", "slow"])
def test_rows_that_share_a_run_are_measured_together(a_row: float, slow: bool) -> None:
    version = Version(a_row, 0.005)
    found = measure(version.score, 3, LIMIT, lambda: version.now, run=32)
    assert found == VersionPace(pytest.approx(a_row), slow, pytest.approx(0.005))
    assert version.asked[: 2 * RUNS] == [1] * RUNS + [32] * RUNS


def test_a_bad_row_of_a_run_costs_no_other_row_its_score() -> None:
    """The process scores such a run again, row by row."""

    class Refusing:
        def score(self, rows: np.ndarray) -> np.ndarray:
            if (rows < 0).any():
                raise ZeroDivisionError("a defect")
            return rows[:, 0]

    rows = np.array([[1.0], [-1.0], [2.0]], np.float32)
    found = worker._scored(cast("OnnxScorer", Refusing()), 7, rows)
    assert [(one.row, one.score, one.error) for one in found] == [
        (7, 1.0, ""),
        (8, None, ERROR),
        (9, 2.0, ""),
    ]
