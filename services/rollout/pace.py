"""When to do what next: the interval of looks, and backoff towards servers that are away. Wall seconds."""

from __future__ import annotations

import time

# A look costs 5 to 20 ms. Once a second is soon for people; a demo in which four hours pass in six seconds wants more.
LOOK_SECONDS = (0.2, 1.0)
WORLD_SECONDS_PER_LOOK = 240.0

# How often the registry is asked whether the champion is still the one that the rollout knows.
CHAMPION_SECONDS = 5.0
# A rollout without new events is written this often, for whoever looks at how time passes.
SAVE_SECONDS = 10.0

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # the last one repeats


def look_interval(speed: float | None) -> float:
    """Wall seconds between looks at this speed (world seconds per wall second); None while there is no world."""
    least, most = LOOK_SECONDS
    return most if not speed else min(most, max(least, WORLD_SECONDS_PER_LOOK / speed))


def backoff(failures: int) -> float:
    """Wall seconds to wait after so many failures in a row, at least one."""
    return BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]


class Timer:
    """Says when one kind of work is due, per model; the first time at once."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def is_due(self, model: str) -> bool:
        return time.monotonic() >= self._next.get(model, 0.0)

    def is_failing(self, model: str) -> bool:
        return model in self._failures

    def wait(self, model: str, seconds: float) -> None:
        """Due again after `seconds`; whatever failed before is over."""
        self._failures.pop(model, None)
        self._next[model] = time.monotonic() + seconds

    def failed(self, model: str) -> None:
        """Due again after a while that grows with each failure in a row."""
        self._failures[model] = self._failures.get(model, 0) + 1
        self._next[model] = time.monotonic() + backoff(self._failures[model])
