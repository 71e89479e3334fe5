"""The recorder as a service: one owner per lake, and recovery after a failed round."""

from __future__ import annotations

import threading
import time

from polars.exceptions import PolarsError

from dojo.core.service import REDIS, Cause, Service
from dojo.core.state.clock import ClockNotSetError, WorldClock
from services.recorder.metrics import RecorderMetrics
from services.recorder.ownership import LOCK_FILE, LakeOwnership, remove_leftovers
from services.recorder.pace import round_interval
from services.recorder.recorder import Recorder

# How soon a waiting recorder takes over from a dead one. Asking costs one system call.
STANDBY_SECONDS = 0.1

# How often a waiting recorder measures the lag. A backlog of 200,000 messages takes Redis 20 ms to
# count.
LAG_SECONDS = 5.0


class RecorderService(Service):
    """Records everything that is in the log, once per round."""

    causes = (REDIS, Cause("lake", (OSError, PolarsError), healthy=False))
    stuck_after = 60.0  # a hanging disk. 600,000 waiting messages take half of it

    def __init__(
        self,
        recorder: Recorder,
        ownership: LakeOwnership,
        metrics: RecorderMetrics,
        clock: WorldClock,
    ) -> None:
        super().__init__()
        self._recorder, self._ownership, self._metrics, self._clock = (
            recorder,
            ownership,
            metrics,
            clock,
        )
        self._recovered = False
        self._lag_due = 0.0

    def round(self, stop: threading.Event) -> float:
        owned = self._ownership.acquire()
        self._metrics.waiting.set(not owned)
        if not owned:
            if (
                time.monotonic() >= self._lag_due
            ):  # the owner may hang, and then the lag must still be measured
                self._recorder.show_lag()
                self._lag_due = time.monotonic() + LAG_SECONDS
            self.say(
                "waiting",
                f"another recorder writes to this lake (process {self._ownership.owner()}, by"
                f" {LOCK_FILE})",
            )
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
        # Some messages may be read and not acknowledged. The next round starts with them.
        self._recovered = False
        self._metrics.failures.labels(cause).inc()

    def close(self) -> None:
        self._ownership.release()
