"""The streamer as a service: new messages, a predecessor's messages, lag and freshness."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from redis import Redis

from dojo.core.events.log import EventLog
from dojo.core.service import ANY_ERROR, REDIS, Service
from feature_repo.freshness import record_freshness
from services.streamer.metrics import StreamerMetrics
from services.streamer.streamer import BATCH, GROUP, Streamer

BLOCK = timedelta(milliseconds=500)  # of an idle read, within which SIGTERM is noticed
HOUSEKEEPING_SECONDS = 0.25  # wall time between looks at lag, 10 world minutes at demo speed
RECLAIM_AFTER = timedelta(
    seconds=15
)  # a round takes a fraction of a second, so a dead streamer left older deliveries


class StreamerService(Service):
    """Applies one batch of each stream per round. A predecessor's unacknowledged messages go first.

    Args:
        streamers: One per stream.
    """

    causes = (REDIS, ANY_ERROR)

    def __init__(
        self,
        streamers: Sequence[Streamer],
        event_log: EventLog,
        redis: Redis,
        world_now: Callable[[], datetime | None],
        metrics: StreamerMetrics,
    ) -> None:
        super().__init__()
        self._streamers, self._log, self._redis = streamers, event_log, redis
        self._world_now, self._metrics = world_now, metrics
        self._events = 0
        self._as_of: dict[str, datetime] = {}
        self._reclaim_idle, self._housekeeping_at = timedelta(0), 0.0

    def round(self, stop: threading.Event) -> float:
        if self._reclaim_idle == timedelta(0) or time.monotonic() >= self._housekeeping_at:
            for streamer in self._streamers:
                while (
                    streamer.reclaim_round(self._reclaim_idle).messages == BATCH
                    and not stop.is_set()
                ):
                    pass
            self._reclaim_idle = RECLAIM_AFTER
        for streamer in self._streamers:
            done = streamer.next_round(BLOCK / len(self._streamers))
            self._events += done.messages
            if done.latest is not None:
                self._as_of[streamer.stream] = max(
                    done.latest, self._as_of.get(streamer.stream, done.latest)
                )
        if time.monotonic() >= self._housekeeping_at:
            self._show()
            self._housekeeping_at = time.monotonic() + HOUSEKEEPING_SECONDS
        self.say(
            "running"
            if self._events
            else f"waiting for {' and '.join(one.stream for one in self._streamers)}"
        )
        return 0.0  # the read waits

    def failed(self, cause: str, part: str) -> None:
        self._metrics.errors.inc()
        self._reclaim_idle = timedelta(0)  # the failed round's batch is pending under our own name

    def details(self) -> Mapping[str, object]:
        return {"events": self._events, "as_of": min(self._as_of.values(), default=None)}

    def _show(self) -> None:
        """Lag and freshness."""
        lags = {
            streamer.stream: self._log.lag(streamer.stream, GROUP) for streamer in self._streamers
        }
        for stream, lag in lags.items():
            self._metrics.lag.labels(stream).set(lag)
        if (now := self._world_now()) is None:
            return  # history is still being built
        # Nothing waits: complete up to this moment, also in a quiet night.
        self._as_of.update({stream: now for stream, lag in lags.items() if lag == 0})
        if not self._as_of:
            return
        self._metrics.age.set(max((now - min(self._as_of.values())).total_seconds(), 0.0))
        for streamer in self._streamers:
            if (as_of := self._as_of.get(streamer.stream)) is not None:
                for view in streamer.views:
                    record_freshness(self._redis, view.name, as_of)
