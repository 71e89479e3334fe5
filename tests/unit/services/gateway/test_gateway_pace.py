"""A version is slow when one row, or one full batch, takes longer than the limit."""

from __future__ import annotations

import time

import numpy as np
import pytest

from services.gateway.sandbox.pace import BATCH_ROWS, RUNS, measure


@pytest.mark.parametrize(
    ("a_row", "a_batch", "slow"),
    [(0.0, 0.0, False), (0.02, 0.02, True), (0.0, 0.02, True)],
    ids=["fast", "slow at one row", "slow at a batch"],
)
def test_one_slow_row_or_batch_makes_a_slow_version(
    a_row: float, a_batch: float, slow: bool
) -> None:
    asked = []

    def score(rows: np.ndarray) -> None:
        asked.append(len(rows))
        time.sleep(a_row if len(rows) == 1 else a_batch)

    found = measure(score, 3, 0.01)
    assert found.is_slow is slow
    assert found.row_seconds >= a_row
    # A version that is slow at one row is not asked for 64.
    assert asked == [1] * RUNS + ([] if a_row else [BATCH_ROWS] * RUNS)


def test_one_stall_of_the_machine_makes_no_version_slow() -> None:
    stalls = iter([0.02])
    found = measure(lambda _: time.sleep(next(stalls, 0.0)), 3, 0.01)
    assert not found.is_slow
