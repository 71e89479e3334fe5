"""The streamer's outermost loop: rounds until told to stop, through any outage of Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from redis import Redis

from dojo.core.events.log import EventLog
from dojo.core.events.types import Stream
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from feature_repo.catalog import CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY
from feature_repo.freshness import record_freshness
from services.streamer.metrics import StreamerMetrics
from services.streamer.streamer import BATCH, GROUP, Streamer

log = structlog.get_logger()

BLOCK = timedelta(milliseconds=500)  # of an idle read; SIGTERM is noticed within it
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0)  # after a failed round; the last one repeats
HOUSEKEEPING_SECONDS = 0.25  # lag and freshness, wall time; 10 world minutes at demo speed
RECLAIM_AFTER = timedelta(seconds=15)  # a round takes a fraction of a second; older deliveries were left by a dead streamer


@dataclass
class StreamerStatus:
    """What /healthz tells. Out of Redis' reach is no failure of this process: it goes on by itself when Redis is back."""

    events: int = 0
    last_error: str | None = None
    as_of: datetime | None = None

    def health(self) -> tuple[bool, Mapping[str, object]]:
        state = f"retrying: {self.last_error}" if self.last_error else "running" if self.events else "waiting for transactions"
        return True, {"state": state, "events": self.events, "as_of": self.as_of}


def run(
    streamer: Streamer,
    event_log: EventLog,
    redis: Redis,
    clock: RedisWorldClock,
    metrics: StreamerMetrics,
    status: StreamerStatus,
    stop: threading.Event,
) -> None:
    """Apply transactions until `stop`. The first rounds take what a predecessor left unacknowledged."""
    failures, reclaim_idle, housekeeping_at = 0, timedelta(0), 0.0
    while not stop.is_set():
        try:
            if reclaim_idle == timedelta(0) or time.monotonic() >= housekeeping_at:
                while streamer.reclaim_round(reclaim_idle).messages == BATCH and not stop.is_set():
                    pass
                reclaim_idle = RECLAIM_AFTER
            done = streamer.next_round(BLOCK)
            status.events += done.messages
            if done.latest is not None:
                status.as_of = max(done.latest, status.as_of or done.latest)
            if time.monotonic() >= housekeeping_at:
                _housekeeping(event_log, redis, clock, metrics, status)
                housekeeping_at = time.monotonic() + HOUSEKEEPING_SECONDS
            failures, status.last_error = 0, None
        except Exception as error:  # the outermost loop: log, count, go on
            metrics.errors.inc()
            status.last_error = f"{type(error).__name__}: {error}"
            log.warning("round failed, it will be repeated", error=status.last_error, exc_info=failures == 0)
            reclaim_idle = timedelta(0)  # what the failed round was handed is pending under our own name
            stop.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
            failures += 1


def _housekeeping(
    event_log: EventLog, redis: Redis, clock: RedisWorldClock, metrics: StreamerMetrics, status: StreamerStatus
) -> None:
    lag = event_log.lag(Stream.TRANSACTIONS, GROUP)
    metrics.lag.set(lag)
    try:
        now = clock.now()
    except ClockNotSetError:
        return  # history is still being built
    if lag == 0:
        status.as_of = now  # nothing waits: complete up to this moment, also in a quiet night
    if status.as_of is None:
        return
    metrics.age.set(max((now - status.as_of).total_seconds(), 0.0))
    for view in (CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY):
        record_freshness(redis, view.name, status.as_of)
