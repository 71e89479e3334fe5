"""The controller's pace in wall seconds: the interval of looks, and backoff for absent servers."""

from __future__ import annotations

import time

# A look costs 5 to 20 ms. Once a second is enough for people. A demo needs more, because its four
# hours pass in six seconds.
LOOK_SECONDS = (0.2, 1.0)
WORLD_SECONDS_PER_LOOK = 240.0

# Interval between questions to the registry about a changed champion.
CHAMPION_SECONDS = 5.0
# A rollout without new events is written at this interval, so that viewers see its time pass.
SAVE_SECONDS = 10.0

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # the last one repeats


def look_interval(speed: float | None) -> float:
    """Return the wall seconds between looks.

    Args:
        speed: World seconds per wall second. None while there is no world.
    """
    least, most = LOOK_SECONDS
    return most if not speed else min(most, max(least, WORLD_SECONDS_PER_LOOK / speed))


def backoff(failures: int) -> float:
    """Return the wall seconds to wait after this many failures in a row, at least one."""
    return BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]


class Timer:
    """Decides when one kind of work is due, per model. It is due at once the first time."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def is_due(self, model: str) -> bool:
        return time.monotonic() >= self._next.get(model, 0.0)

    def is_failing(self, model: str) -> bool:
        return model in self._failures

    def wait(self, model: str, seconds: float) -> None:
        """Set the next time in `seconds`. Earlier failures are forgotten."""
        self._failures.pop(model, None)
        self._next[model] = time.monotonic() + seconds

    def failed(self, model: str) -> None:
        """Set the next time after a pause that grows with each failure in a row."""
        self._failures[model] = self._failures.get(model, 0) + 1
        self._next[model] = time.monotonic() + backoff(self._failures[model])
