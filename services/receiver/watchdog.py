"""The dead man's switch: an alert that always fires must keep arriving.

Pure but for its lock. Times are a `steady_clock`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

# Four of the repetitions in alertmanager.yml, because a restart of Prometheus or Alertmanager costs
# one or two.
LIMIT = timedelta(seconds=120)


def steady_clock(
    now: datetime, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[], datetime]:
    """Count wall time from `now` on.

    A machine that slept is not a silence, and a clock that was set neither makes nor hides one.
    """
    began = monotonic()
    return lambda: now + timedelta(seconds=monotonic() - began)


@dataclass(frozen=True, slots=True)
class WatchdogChange:
    """A change that people have to be told: the silence since `last`, or its end."""

    kind: Literal["silent", "back"]
    last: datetime
    lasted: timedelta


class Watchdog:
    """Knows when it heard the last sign of life.

    It reports the beginning and the end of each silence, until `told` takes them.
    """

    def __init__(self, now: datetime, limit: timedelta = LIMIT) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._last = now  # the start counts as one, so that total silence is found too
        self._silent_since: datetime | None = None  # of a silence that was told
        self._back: WatchdogChange | None = None

    def bark(self, now: datetime) -> None:
        with self._lock:
            if self._silent_since is not None:
                self._back = WatchdogChange("back", self._silent_since, now - self._silent_since)
                self._silent_since = None
            self._last = now

    def age(self, now: datetime) -> timedelta:
        with self._lock:
            return now - self._last

    def untold(self, now: datetime) -> WatchdogChange | None:
        """The change to tell. It is returned until it was told."""
        with self._lock:
            if self._back is not None:
                return self._back
            if self._silent_since is None and now - self._last > self._limit:
                return WatchdogChange("silent", self._last, now - self._last)
            return None

    def told(self, change: WatchdogChange) -> None:
        with self._lock:
            if change.kind == "back":
                self._back = None
            elif change.last == self._last:
                self._silent_since = change.last
            else:  # it barked meanwhile, and that is the silence's end
                self._back = WatchdogChange("back", change.last, self._last - change.last)
