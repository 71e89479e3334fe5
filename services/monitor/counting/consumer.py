"""One batch at a time from the event log into windows, exactly once.

    reclaim or read -> parse -> fold in memory -> one transaction: changed windows, ids, copies, acknowledgement

Killed before the transaction: the messages are pending and come again, to a memory that is loaded anew. Killed after it: they are
acknowledged. A producer that writes an event twice is met by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from dojo.core.events.log import Delivery, EventLog
from dojo.core.events.types import Prediction, Stream
from services.monitor.counting.fold import Folded, fold_outcomes, fold_predictions
from services.monitor.counting.parse import parse_outcomes, parse_predictions
from services.monitor.counting.profiles import Profiles
from services.monitor.counting.state import (
    CONSUMER,
    GROUP,
    MonitorMemory,
    Store,
    save_labels,
    save_predictions,
    save_rest,
)
from services.monitor.metrics import MonitorMetrics

STREAMS = (Stream.PREDICTIONS, Stream.OUTCOMES)

# Messages a transaction: 8 MB of predictions. A transaction takes some milliseconds of Redis, mostly acknowledging.
BATCH = 2_500

_NO_WAIT = timedelta(milliseconds=1)

# Further ahead than this an event is a producer's fault: clocks of one machine or cluster differ by less, at any speed of the world.
FUTURE = timedelta(days=1)


class Consumer:
    """Fills `known`; after any exception `known` may be ahead of Redis and must be loaded anew."""

    def __init__(self, log: EventLog, store: Store, profiles: Profiles, models: Sequence[str], metrics: MonitorMetrics) -> None:
        self._log = log
        self._store = store
        self._profiles = profiles
        self._models = frozenset(models)
        self._metrics = metrics

    def recover(
        self, known: MonitorMemory, now: datetime | None, stopping: Callable[[], bool], idle: timedelta = timedelta(0)
    ) -> None:
        """Count what a monitor before us had read and not counted.

        Args:
            idle: of messages that were read at least this long ago; all of them after a start.
        """
        for stream in STREAMS:
            while not stopping() and (found := self._log.reclaim(stream, GROUP, CONSUMER, BATCH, idle)):
                self.count(known, stream, found, now)

    def drain(self, known: MonitorMemory, now: datetime | None, stopping: Callable[[], bool]) -> bool:
        """Count everything that is in the log now. Returns whether nothing was left.

        Args:
            now: world time, None while the world has none.
        """
        for stream in STREAMS:
            while True:
                if stopping():
                    return False
                found = self._log.read(stream, GROUP, CONSUMER, BATCH, _NO_WAIT)
                if found:
                    self.count(known, stream, found, now)
                if len(found) < BATCH:
                    break
        return True

    def count(self, known: MonitorMemory, stream: Stream, deliveries: Sequence[Delivery], now: datetime | None) -> None:
        """Raises redis.RedisError, NotOwnerError: nothing was acknowledged."""
        latest = None if now is None else now + FUTURE
        if stream is Stream.PREDICTIONS:
            predictions, rejections = parse_predictions(deliveries, self._models, latest)
            self._meet_versions(known, predictions)
            folded = fold_predictions(known, predictions)
        else:
            outcomes, rejections = parse_outcomes(deliveries, self._models, latest)
            folded = fold_outcomes(known, outcomes)

        def save(pipe) -> None:  # type: ignore[no-untyped-def]
            if stream is Stream.PREDICTIONS:
                save_predictions(pipe, known, folded.predictions, folded.new)
            else:
                save_labels(pipe, known, folded.labels, folded.new)
            save_rest(pipe, stream, rejections, [delivery.message_id for delivery in deliveries])

        self._store.write(save)
        self._show(stream, folded, len(rejections))

    def _meet_versions(self, known: MonitorMemory, predictions: Sequence[Prediction]) -> None:
        """Get the profiles of versions that are seen for the first time: their answers cannot be binned without."""
        for key in {(event.model, event.version) for event in predictions} - known.profiles.keys():
            profile = self._profiles.fetch(key)
            if profile is not None:
                self._store.remember_profile(key, profile)
                known.learn(key, profile)

    def _show(self, stream: Stream, folded: Folded, rejections: int) -> None:
        self._metrics.events.labels(stream).inc(folded.counted)
        self._metrics.duplicates.labels(stream).inc(folded.duplicates)
        self._metrics.too_late.labels(stream).inc(folded.too_late)
        self._metrics.rejected.labels(stream).inc(rejections)
