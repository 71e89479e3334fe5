"""The monitor as a service: counts, judges and closes, while it has the lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from polars.exceptions import PolarsError
from redis.exceptions import RedisError

from dojo.core.events.log import EventLog
from dojo.core.service import REDIS, Cause, Service
from dojo.core.state.clock import ClockNotSetError, WorldClock
from services.monitor.counting.closing import close_hours
from services.monitor.counting.consumer import STREAMS, Consumer
from services.monitor.counting.state import GROUP, MonitorMemory, NotOwnerError, Store
from services.monitor.judging_loop import Judging
from services.monitor.metrics import MonitorMetrics
from services.monitor.registry_notices import RegistryNotices
from services.monitor.serving import ServingVersions

# Wall seconds between two rounds without work. A world hour takes 1.5 s at demo speed.
IDLE_SECONDS = 0.2

# Wall seconds between two looks at states without windows (freshness) and at the log's lag.
LOOK_SECONDS = 1.0

# Messages read and not acknowledged for this long belong to a monitor that lost its lease.
ABANDONED = timedelta(seconds=15)


class Monitor(Service):
    """Counts the available events, then judges the due windows, once per round."""

    causes = (
        REDIS,
        Cause("lease", NotOwnerError),
        Cause("lake", (OSError, PolarsError), healthy=False),
    )

    def __init__(
        self,
        log: EventLog,
        store: Store,
        consumer: Consumer,
        judging: Judging,
        serving: ServingVersions,
        notices: RegistryNotices,
        clock: WorldClock,
        metrics: MonitorMetrics,
    ) -> None:
        super().__init__()
        self._log, self._store, self._consumer, self._judging = log, store, consumer, judging
        self._serving, self._notices, self._clock, self._metrics = serving, notices, clock, metrics
        self._lag: dict[str, int] = {}
        self.known: MonitorMemory | None = None
        self._look_at = self._reclaim_at = 0.0

    def forget(self) -> None:
        """Discard the state in memory. The next round reads it from Redis again."""
        self.known = None

    def round(self, stop: threading.Event) -> float:
        may = self._store.acquire()
        if may != "ours":
            self.forget()
        if may == "other":
            self.say("waiting", "another monitor has the lease")
            return IDLE_SECONDS
        # Taken before reading. All events before this moment are then in the log, or late.
        now = self._now()
        if self.known is None:
            known = self._store.load()
            self._judging.load()
            self._consumer.recover(known, now, stop.is_set)
            self._reclaim_at = time.monotonic() + ABANDONED.total_seconds()
            self.known = known
        elif time.monotonic() >= self._reclaim_at:
            self._consumer.recover(self.known, now, stop.is_set, ABANDONED)
            self._reclaim_at = time.monotonic() + ABANDONED.total_seconds()
        drained = self._consumer.drain(self.known, now, stop.is_set)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._show_lag()
            if now is not None:
                self._judging.present(self.known, now)
                self._notices.look(now)
        if drained and now is not None:
            self._judge(self.known, now)
        self._metrics.alive.set_to_current_time()
        self.say(
            "monitoring",
            (
                "MLflow does not answer; new versions wait for their profile"
                if self._serving.away
                else ""
            ),
        )
        return IDLE_SECONDS

    def failed(self, cause: str, part: str) -> None:
        self.forget()
        self._metrics.failures.labels(cause).inc()

    def details(self) -> Mapping[str, object]:
        return {"lag": dict(self._lag)}

    def close(self) -> None:
        with suppress(RedisError, NotOwnerError):  # the lease expires anyway
            if self.known is not None:
                self._store.release()

    def _judge(self, known: MonitorMemory, now: datetime) -> None:
        begun = time.perf_counter()
        judged = self._judging.windows(known, now)
        judged += self._judging.performance(known, now)
        if judged:
            self._metrics.look_seconds.observe(time.perf_counter() - begun)
        close_hours(self._store, known, now)

    def _now(self) -> datetime | None:
        try:
            return self._clock.now()
        except ClockNotSetError:
            return None  # history is still being built

    def _show_lag(self) -> None:
        lags = {str(stream): self._log.lag(stream, GROUP) for stream in STREAMS}
        for stream, lag in lags.items():
            self._metrics.lag.labels(stream).set(lag)
        self._lag = lags
