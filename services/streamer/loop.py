"""The streamer as a service: new messages, those that a predecessor left, lag and freshness."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from redis import Redis

from dojo.core.events.log import EventLog
from dojo.core.events.types import Stream
from dojo.core.service import ANY_ERROR, REDIS, Service
from feature_repo.catalog import CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY
from feature_repo.freshness import record_freshness
from services.streamer.metrics import StreamerMetrics
from services.streamer.streamer import BATCH, GROUP, Streamer

BLOCK = timedelta(milliseconds=500)  # of an idle read; SIGTERM is noticed within it
HOUSEKEEPING_SECONDS = 0.25  # lag and freshness, wall time; 10 world minutes at demo speed
RECLAIM_AFTER = timedelta(seconds=15)  # a round takes a fraction of a second; older deliveries were left by a dead streamer


class StreamerService(Service):
    """Applies one batch of transactions per round, a predecessor's unacknowledged ones first."""

    causes = (REDIS, ANY_ERROR)

    def __init__(
        self,
        streamer: Streamer,
        event_log: EventLog,
        redis: Redis,
        world_now: Callable[[], datetime | None],
        metrics: StreamerMetrics,
    ) -> None:
        super().__init__()
        self._streamer, self._log, self._redis = streamer, event_log, redis
        self._world_now, self._metrics = world_now, metrics
        self._events = 0
        self._as_of: datetime | None = None
        self._reclaim_idle, self._housekeeping_at = timedelta(0), 0.0

    def round(self, stop: threading.Event) -> float:
        if self._reclaim_idle == timedelta(0) or time.monotonic() >= self._housekeeping_at:
            while self._streamer.reclaim_round(self._reclaim_idle).messages == BATCH and not stop.is_set():
                pass
            self._reclaim_idle = RECLAIM_AFTER
        done = self._streamer.next_round(BLOCK)
        self._events += done.messages
        if done.latest is not None:
            self._as_of = max(done.latest, self._as_of or done.latest)
        if time.monotonic() >= self._housekeeping_at:
            self._show()
            self._housekeeping_at = time.monotonic() + HOUSEKEEPING_SECONDS
        self.say("running" if self._events else "waiting for transactions")
        return 0.0  # the read waits

    def failed(self, cause: str, part: str) -> None:
        self._metrics.errors.inc()
        self._reclaim_idle = timedelta(0)  # the failed round's batch is pending under our own name

    def details(self) -> Mapping[str, object]:
        return {"events": self._events, "as_of": self._as_of}

    def _show(self) -> None:
        """Lag and freshness."""
        lag = self._log.lag(Stream.TRANSACTIONS, GROUP)
        self._metrics.lag.set(lag)
        if (now := self._world_now()) is None:
            return  # history is still being built
        if lag == 0:
            self._as_of = now  # nothing waits: complete up to this moment, also in a quiet night
        if self._as_of is None:
            return
        self._metrics.age.set(max((now - self._as_of).total_seconds(), 0.0))
        for view in (CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY):
            record_freshness(self._redis, view.name, self._as_of)
