"""Prediction events to the event log, off the request path.

Events wait in memory first, go to Redis in batches, and go to disk while Redis is away.

    append -> buffer (memory) -> event log          the usual way, about ten milliseconds
                     \\-> spool (disk) -> event log   while Redis is away, and until the spool is
                                                     drained: order is kept

The log drops and counts events for which it has no room. A request never pays for that. A kill -9
loses the buffer, FLUSH_EVERY_SECONDS of events and a write under way.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence

import structlog

from dojo.core.events.streams import encode
from dojo.core.events.types import Prediction, Stream
from services.gateway.features.redis_client import RedisClient, RedisUnavailableError
from services.gateway.logging.event_commands import appends
from services.gateway.logging.spool import Spool
from services.gateway.metrics import GatewayMetrics

FLUSH_EVERY_SECONDS = 0.01
# Events per write. Encoding costs 10 microseconds each, and Redis adds them in about as much. So a
# batch holds up a request for half a millisecond. With 100 events every 50 ms, p99 was 1.7 times as
# long at half load. The processor time was the same.
BATCH = 25
# Events per write to disk, because each waits for the disk.
SPOOL_BATCH = 100
# 90 s of events at 300 requests a second, for a disk that does not answer. At about 3 kB each this
# is 80 MB when full.
BUFFERED_EVENTS = 25_000
# Limit for a write that hangs. Events wait in memory meanwhile. A shutdown has no time for a longer
# wait.
WRITE_TIMEOUT_SECONDS = 1.0
RETRY_SECONDS = 0.5

_log = structlog.get_logger("gateway.prediction_log")


class PredictionLog:
    """`append` takes events from the event loop. `run` writes them."""

    def __init__(
        self, client: RedisClient, spool: Spool, max_stream_length: int, metrics: GatewayMetrics
    ) -> None:
        self._client = client
        self._spool = spool
        self._metrics = metrics
        self._buffer: deque[Prediction] = deque()
        self._away = False
        self._stopping = False
        self._appends = appends(Stream.PREDICTIONS, max_stream_length)
        metrics.log_buffered.set_function(lambda: len(self._buffer))
        metrics.log_spooled.set_function(lambda: self._spool.size)

    @property
    def details(self) -> dict[str, object]:
        return {
            "buffered_events": len(self._buffer),
            "spooled_bytes": self._spool.size,
            "event_log": "away" if self._away else "ok",
        }

    def append(self, event: Prediction) -> None:
        if len(self._buffer) >= BUFFERED_EVENTS:
            self._metrics.log_dropped.inc()
        else:
            self._buffer.append(event)

    async def run(self) -> None:
        """Write appended events until `stop`.

        At the end, memory is empty. All events are in Redis, or on disk if Redis is away.
        """
        loop = asyncio.get_running_loop()
        retry_at = 0.0
        while not self._stopping:
            await asyncio.sleep(FLUSH_EVERY_SECONDS)
            if self._spool.size and loop.time() >= retry_at and not await self._drain_spool():
                retry_at = loop.time() + RETRY_SECONDS
            while self._buffer:
                await self._write_batch()
        while self._buffer:  # stopped while a failed run waited for its restart
            await self._write_batch()

    def stop(self) -> None:
        """Announce that no more events will come."""
        self._stopping = True

    async def _write_batch(self) -> None:
        # Events leave the buffer only once they are safe. After an interruption, the next round
        # repeats the write.
        to_disk = self._away or self._spool.size
        count = SPOOL_BATCH if to_disk else BATCH
        events = [encode(event) for event in itertools.islice(self._buffer, count)]
        if self._spool.size or not await self._deliver(events):
            await self._to_disk(events)
        for _ in events:
            self._buffer.popleft()

    async def _to_disk(self, events: Sequence[bytes]) -> None:
        try:
            kept = await asyncio.to_thread(self._spool.append, events)
        except OSError as error:
            _log.error("the spool cannot be written", reason=str(error))
            kept = 0
        if kept < len(events):
            self._metrics.log_dropped.inc(len(events) - kept)

    async def _drain_spool(self) -> bool:
        """Deliver the spool to Redis, oldest first, until Redis refuses.

        Returns:
            Whether the spool is empty.
        """
        while (oldest := await asyncio.to_thread(self._spool.oldest)) is not None:
            segment, events = oldest
            for batch in _batches(events):
                if self._stopping or not await self._deliver(batch):
                    return False
            await asyncio.to_thread(self._spool.delete, segment)
        return True

    async def _deliver(self, events: Sequence[bytes]) -> bool:
        """Append events to the event log. Repeating is harmless.

        Returns:
            Whether all of them are in the log.
        """
        try:
            replies = await self._client.call(
                self._appends(events), len(events), WRITE_TIMEOUT_SECONDS
            )
            if refused := next(
                (reply for reply in replies if isinstance(reply, RedisUnavailableError)), None
            ):
                raise refused
        except RedisUnavailableError as error:
            if not self._away:
                _log.warning("the event log is away, predictions go to disk", reason=str(error))
            self._away = True
            return False
        if self._away:
            _log.info("the event log is back")
        self._away = False
        self._metrics.log_written.inc(len(events))
        return True


def _batches(events: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [events[at : at + BATCH] for at in range(0, len(events), BATCH)]
