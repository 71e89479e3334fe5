"""One batch at a time. Its order of steps makes recording effectively once."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date, timedelta

from dojo.core.events.columns import frame_of
from dojo.core.events.dead_letters import DeadLetters, sift
from dojo.core.events.log import Delivery, EventLog
from dojo.core.events.streams import EVENT_TYPES
from dojo.core.lake import Lake, utc_date
from services.recorder.deduplicate import PartitionIds, Received, identity_of, new_events
from services.recorder.metrics import RecorderMetrics

GROUP = "recorder"
CONSUMER = "recorder"  # one per lake, so its name says nothing more

# Rows per file at most. 10,000 predictions of 60 features decode into about 60 MB and compress into
# 2 MB of Parquet.
BATCH_ROWS = 10_000

# Reading never waits, because the loop's pace decides when to come back.
_NO_WAIT = timedelta(milliseconds=1)


class Recorder:
    """Moves messages from the log to the lake.

    It keeps nothing between calls but the ids of partitions, and these can be read again from the
    files. So after any failure it is right to call `recover` and then `drain` again.
    """

    def __init__(
        self,
        log: EventLog,
        lake: Lake,
        ids: PartitionIds,
        dead_letters: DeadLetters,
        metrics: RecorderMetrics,
    ) -> None:
        self._log = log
        self._lake = lake
        self._ids = ids
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._newest: dict[str, float] = defaultdict(float)  # world time, unix seconds

    def recover(self, stopping: Callable[[], bool]) -> None:
        """Finish messages that an earlier recorder had read and not acknowledged."""
        for stream in EVENT_TYPES:
            while not stopping() and (
                found := self._log.reclaim(stream, GROUP, CONSUMER, BATCH_ROWS, timedelta(0))
            ):
                self.record(stream, found)

    def drain(self, stopping: Callable[[], bool]) -> None:
        """Record everything that is in the log now."""
        for stream in EVENT_TYPES:
            while not stopping():
                found = self._log.read(stream, GROUP, CONSUMER, BATCH_ROWS, _NO_WAIT)
                self.record(stream, found)
                if len(found) < BATCH_ROWS:
                    break
        self.show_lag()

    def show_lag(self) -> None:
        """Export how many messages of each stream are not in the lake."""
        for stream in EVENT_TYPES:
            self._metrics.lag.labels(stream).set(self._log.lag(stream, GROUP))

    def record(self, stream: str, deliveries: Sequence[Delivery]) -> None:
        """Deduplicate, write, acknowledge, in this order.

        Raises:
            OSError, polars.exceptions.PolarsError: The lake cannot be written or read. Nothing was
                acknowledged.
            redis.RedisError: The log is out of reach. Written events are dropped as duplicates next
                time.
        """
        found, rejected = sift(EVENT_TYPES[stream], deliveries)
        days: dict[date, list[Received]] = defaultdict(list)
        for delivery, event in found:
            day = utc_date(event.world_time)
            days[day].append(Received(delivery.message_id, event, day))
        for day, events in days.items():
            new = new_events(events, self._ids.of(stream, day))
            self._metrics.duplicates.labels(stream).inc(len(events) - len(new))
            if new:
                self._write(stream, day, new)
        self._dead_letters.keep(stream, rejected)
        self._log.acknowledge(stream, GROUP, [delivery.message_id for delivery in deliveries])

    def _write(self, stream: str, day: date, new: Sequence[Received]) -> None:
        name = self._free_name(stream, day, new[0].message_id)
        started = time.perf_counter()
        (file,) = self._lake.write(stream, frame_of(stream, [one.event for one in new]), name)
        self._metrics.write_seconds.labels(stream).observe(time.perf_counter() - started)
        self._ids.wrote(stream, day, file, [identity_of(one.event) for one in new])
        self._metrics.events.labels(stream).inc(len(new))
        newest = max(one.event.world_time for one in new).timestamp()
        if newest > self._newest[stream]:  # late events are no news
            self._newest[stream] = newest
            self._metrics.newest.labels(stream).set(newest)

    def _free_name(self, stream: str, day: date, message_id: str) -> str:
        """Return `part-<first message>`.

        That message is new, so no file of this log starts with it. A file of an earlier log whose
        clock ran ahead could, and files are never replaced.
        """
        name = f"part-{message_id}"
        while (self._lake.partition(stream, day) / f"{name}.parquet").exists():
            name += "-again"
        return name
