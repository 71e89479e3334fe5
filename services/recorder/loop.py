"""The recorder as a service: one owner per lake, and what a failed round leaves."""

from __future__ import annotations

import threading

from polars.exceptions import PolarsError

from dojo.core.service import REDIS, Cause, Service
from dojo.core.state.clock import ClockNotSetError, WorldClock
from services.recorder.metrics import RecorderMetrics
from services.recorder.ownership import LOCK_FILE, LakeOwnership, remove_leftovers
from services.recorder.pace import round_interval
from services.recorder.recorder import Recorder

# How soon a waiting recorder takes over from one that died. Asking costs one system call.
STANDBY_SECONDS = 0.1


class RecorderService(Service):
    """Records everything that is in the log, once per round."""

    causes = (REDIS, Cause("lake", (OSError, PolarsError), healthy=False))
    stuck_after = 60.0  # a hanging disk; 600,000 waiting messages take half of it

    def __init__(self, recorder: Recorder, ownership: LakeOwnership, metrics: RecorderMetrics, clock: WorldClock) -> None:
        super().__init__()
        self._recorder, self._ownership, self._metrics, self._clock = recorder, ownership, metrics, clock
        self._recovered = False

    def round(self, stop: threading.Event) -> float:
        if not self._ownership.acquire():
            self.say("waiting", f"another recorder writes to this lake (process {self._ownership.owner()}, by {LOCK_FILE})")
            return STANDBY_SECONDS
        if not self._recovered:
            remove_leftovers(self._ownership.root)
            self._recorder.recover(stop.is_set)
            self._recovered = True
        self._recorder.drain(stop.is_set)
        self.say("recording")
        try:
            return round_interval(self._clock.speed()).total_seconds()
        except ClockNotSetError:
            return round_interval(None).total_seconds()

    def failed(self, cause: str, part: str) -> None:
        # Some messages may be read and not acknowledged: the next round starts with those.
        self._recovered = False
        self._metrics.failures.labels(cause).inc()

    def close(self) -> None:
        self._ownership.release()
