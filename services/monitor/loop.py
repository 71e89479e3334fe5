"""Monitoring for ever: through an absent Redis or MLflow and another monitor's presence, saying how it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog
from polars.exceptions import PolarsError
from redis.exceptions import RedisError

from dojo.core.events.log import EventLog
from dojo.core.state.clock import ClockNotSetError, WorldClock
from services.monitor.champions import ChampionCache
from services.monitor.counting.consumer import STREAMS, Consumer
from services.monitor.counting.state import GROUP, MonitorMemory, NotOwnerError, Store, close_hours
from services.monitor.judging_loop import Judging
from services.monitor.metrics import MonitorMetrics

# A round that takes longer is stuck: catching up with 200,000 messages takes ten seconds, and judging a fortnight of them as long. Seconds.
STUCK_AFTER = 120.0

# Wall seconds between two rounds that found nothing to do; a world hour takes 1.5 s at demo speed.
IDLE_SECONDS = 0.2

# Wall seconds between two looks at what has no windows (freshness), and at the log's lag.
LOOK_SECONDS = 1.0

# Messages that were read and not acknowledged for this long were read by a monitor that lost its lease.
ABANDONED = timedelta(seconds=15)

# After a failed round; the last one repeats. Wall seconds.
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)

_log = structlog.get_logger("monitor")


class MonitorStatus:
    """How it goes, for /healthz; written by the loop, read by the health server's thread."""

    def __init__(self) -> None:
        self._state, self._reason, self._healthy = "starting", "", True
        self._lag: dict[str, int] = {}
        self._busy_since: float | None = None

    def begin(self) -> None:
        self._busy_since = time.monotonic()

    def end(self, state: str, reason: str = "", healthy: bool = True) -> None:
        self._state, self._reason, self._healthy, self._busy_since = state, reason, healthy, None

    def lags(self, lag: Mapping[str, int]) -> None:
        self._lag = dict(lag)

    def health(self) -> tuple[bool, Mapping[str, object]]:
        busy_since = self._busy_since
        if busy_since is not None and (busy := time.monotonic() - busy_since) > STUCK_AFTER:
            return False, {"state": "stuck", "reason": f"one round has taken {busy:.0f} s so far"}
        details = {"state": self._state, "lag": dict(self._lag)}
        return self._healthy, {**details, "reason": self._reason} if self._reason else details


class Monitor:
    """One process' monitor: `round` counts, judges and closes; whatever it raises, `forget` and the next `round` is right."""

    def __init__(
        self,
        log: EventLog,
        store: Store,
        consumer: Consumer,
        judging: Judging,
        champions: ChampionCache,
        clock: WorldClock,
        metrics: MonitorMetrics,
        status: MonitorStatus,
    ) -> None:
        self._log, self._store, self._consumer, self._judging = log, store, consumer, judging
        self._champions, self._clock, self._metrics, self._status = champions, clock, metrics, status
        self.known: MonitorMemory | None = None
        self._look_at = self._reclaim_at = 0.0

    def forget(self) -> None:
        """Redis knows better."""
        self.known = None

    def round(self, stopping: Callable[[], bool]) -> bool:
        """Count what there is, then judge what is due. Returns whether this monitor is the one that may.

        Raises:
            redis.RedisError, NotOwnerError, OSError, polars.exceptions.PolarsError.
        """
        may = self._store.acquire()
        if may != "ours":
            self.forget()
        if may == "other":
            return False
        # Before reading: whatever happened until now is in the log by then, or late.
        now = self._now()
        if self.known is None:
            known = self._store.load()
            self._judging.load()
            self._consumer.recover(known, now, stopping)
            self._reclaim_at = time.monotonic() + ABANDONED.total_seconds()
            self.known = known
        elif time.monotonic() >= self._reclaim_at:
            self._consumer.recover(self.known, now, stopping, ABANDONED)
            self._reclaim_at = time.monotonic() + ABANDONED.total_seconds()
        drained = self._consumer.drain(self.known, now, stopping)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._show_lag()
            if now is not None:
                self._judging.present(self.known, now)
        if drained and now is not None:
            self._judge(self.known, now)
        self._metrics.alive.set_to_current_time()
        return True

    def release(self) -> None:
        if self.known is not None:
            self._store.release()

    @property
    def misses_registry(self) -> bool:
        return self._champions.away

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
        self._status.lags(lags)


def run(monitor: Monitor, status: MonitorStatus, metrics: MonitorMetrics, stop: threading.Event) -> None:
    """Monitor until `stop` is set."""
    failures = 0
    while not stop.is_set():
        status.begin()
        try:
            if monitor.round(stop.is_set):
                missing = "MLflow does not answer; new versions wait for their profile" if monitor.misses_registry else ""
                status.end("monitoring", missing)
            else:
                status.end("waiting", "another monitor has the lease")
        except NotOwnerError as error:
            cause, reason, healthy = "lease", str(error), True
        except RedisError as error:
            # Nothing that a restart would cure: /healthz stays ok and says what we wait for.
            cause, reason, healthy = "redis", f"Redis: {error}", True
        except (OSError, PolarsError) as error:
            cause, reason, healthy = "lake", f"lake: {error}", False
        except Exception as error:  # the outermost loop: an unforeseen fault must not stop monitoring for good
            cause, reason, healthy = "unforeseen", f"unforeseen: {error!r}", False
            _log.exception("unforeseen fault")
        else:
            if failures:
                _log.info("monitoring again", after_failures=failures)
            failures = 0
            stop.wait(IDLE_SECONDS)
            continue
        monitor.forget()
        metrics.failures.labels(cause).inc()
        status.end("retrying" if healthy else "failing", reason, healthy)
        _log.warning("round failed, it is repeated", cause=cause, reason=reason, failures=failures + 1)
        stop.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
        failures += 1
    try:
        monitor.release()
    except (RedisError, NotOwnerError):
        return  # the lease ends by itself
