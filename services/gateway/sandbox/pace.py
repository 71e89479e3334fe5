"""How long a version takes, measured when it is loaded. It decides where the version is scored."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

# Instances after which no further request joins a batch (services/gateway/versions/scoring.py).
# Scored in the gateway's process, they take the event loop in one piece, usually for 3 ms.
BATCH_ROWS = 64
# Scorings before a version gets traffic. The first ones allocate ONNX Runtime's arenas and take
# milliseconds instead of microseconds.
WARM_UP_SCORINGS = 20
# A slow version is warm after fewer.
WARM_UP_SECONDS = 0.2
# The fastest run counts, because a busy machine only adds time.
RUNS = 3


class VersionPace(msgspec.Struct, array_like=True, frozen=True):
    """A version's speed.

    Attributes:
        row_seconds: Time to score one row.
        is_slow: Whether one row, or one full batch, takes longer than the limit.
        run_seconds: Time to score as many rows as share a run.
    """

    row_seconds: float
    is_slow: bool
    run_seconds: float = 0.0


def warm_up(score: Callable[[], object]) -> None:
    """Score until the version is warm."""
    started = time.perf_counter()
    for _ in range(WARM_UP_SCORINGS):
        score()
        if time.perf_counter() - started > WARM_UP_SECONDS:
            return


def measure(
    score: Callable[[npt.NDArray[np.float32]], object],
    width: int,
    limit: float,
    clock: Callable[[], float] = time.perf_counter,
    run: int = 1,
) -> VersionPace:
    """Return the pace of a warm version.

    Args:
        score: Scores rows of shape (n, width).
        limit: Seconds (DOJO_SLOW_SCORING_SECONDS).
        clock: Returns seconds.
        run: Rows that share a run.
    """
    row = fastest(score, np.zeros((1, width), np.float32), clock)
    together = row if run == 1 else fastest(score, np.zeros((run, width), np.float32), clock)
    if row > limit:
        return VersionPace(row, True, together)
    batch = fastest(score, np.zeros((BATCH_ROWS, width), np.float32), clock)
    return VersionPace(row, batch > limit, together)


def fastest(
    score: Callable[[npt.NDArray[np.float32]], object],
    rows: npt.NDArray[np.float32],
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the seconds of the fastest of some runs with these rows."""
    taken = []
    for _ in range(RUNS):
        started = clock()
        score(rows)
        taken.append(clock() - started)
    return min(taken)
