"""One batch at a time from the event log into windows, exactly once.

    reclaim or read -> sift -> fold in memory -> one transaction: windows, ids, acknowledgement

After a kill before the transaction, the messages are pending. They come again, and the memory is
loaded anew. After a kill after the transaction, they are acknowledged. If a producer writes an
event twice, its id reveals it. Dead letters are kept before the transaction, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from dojo.core.events.dead_letters import DeadLetters, sift
from dojo.core.events.log import Delivery, EventLog
from dojo.core.events.types import Outcome, Prediction, Stream
from services.monitor.counting.fold import Folded, fold_outcomes, fold_predictions
from services.monitor.counting.profiles import Profiles
from services.monitor.counting.state import (
    CONSUMER,
    GROUP,
    MonitorMemory,
    Store,
    acknowledge,
    save_labels,
    save_predictions,
)
from services.monitor.metrics import MonitorMetrics

STREAMS = (Stream.PREDICTIONS, Stream.OUTCOMES)

# Messages per transaction. These are 8 MB of predictions. A transaction takes some milliseconds of
# Redis, mostly for acknowledging.
BATCH = 2_500

_NO_WAIT = timedelta(milliseconds=1)

# An event further ahead than this is a producer's fault. Clocks of one machine or cluster differ by
# less, at any speed of the world.
FUTURE = timedelta(days=1)


class Consumer:
    """Fills `known`. After an exception, `known` may be ahead of Redis and must be loaded anew.

    Args:
        models: Model -> lowest and highest score of its task.
        left_out: Models with a wrong spec. Their events are passed over, because no part of the
            monitor can judge them.
    """

    def __init__(
        self,
        log: EventLog,
        dead_letters: DeadLetters,
        store: Store,
        profiles: Profiles,
        models: Mapping[str, tuple[float, float]],
        metrics: MonitorMetrics,
        left_out: Collection[str] = (),
    ) -> None:
        self._log, self._dead_letters = log, dead_letters
        self._store = store
        self._profiles = profiles
        self._models, self._left_out = models, left_out
        self._metrics = metrics

    def recover(
        self,
        known: MonitorMemory,
        now: datetime | None,
        stopping: Callable[[], bool],
        idle: timedelta = timedelta(0),
    ) -> None:
        """Count messages that an earlier monitor had read and not counted.

        Args:
            idle: Minimum time since they were read. Zero after a start, for all of them.
        """
        for stream in STREAMS:
            while not stopping() and (
                found := self._log.reclaim(stream, GROUP, CONSUMER, BATCH, idle)
            ):
                self.count(known, stream, found, now)

    def drain(
        self, known: MonitorMemory, now: datetime | None, stopping: Callable[[], bool]
    ) -> bool:
        """Count everything that is in the log now.

        Args:
            now: World time. None while the world has none.

        Returns:
            Whether the log is empty.
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

    def count(
        self,
        known: MonitorMemory,
        stream: str,
        deliveries: Sequence[Delivery],
        now: datetime | None,
    ) -> None:
        """Count one batch.

        Raises:
            redis.RedisError: Redis is out of reach. Nothing was acknowledged.
            NotOwnerError: Another monitor writes. Nothing was acknowledged.
        """
        latest = None if now is None else now + FUTURE
        if stream == Stream.PREDICTIONS:
            answers, rejected = sift(
                Prediction,
                deliveries,
                lambda event: (
                    ""
                    if event.model in self._left_out
                    else prediction_fault(event, self._models, latest)
                ),
            )
            predictions = [event for _, event in answers if event.model not in self._left_out]
            self._meet_versions(known, predictions)
            folded = fold_predictions(known, predictions)
        else:
            outcomes, rejected = sift(
                Outcome,
                deliveries,
                lambda event: model_fault(event, {*self._models, *self._left_out}, latest),
            )
            known_labels = [event for _, event in outcomes if event.model not in self._left_out]
            folded = fold_outcomes(known, known_labels)
        self._dead_letters.keep(stream, rejected)

        def save(pipe) -> None:  # type: ignore[no-untyped-def]
            if stream == Stream.PREDICTIONS:
                save_predictions(pipe, known, folded.predictions, folded.new)
            else:
                save_labels(pipe, known, folded.labels, folded.new)
            acknowledge(pipe, stream, [delivery.message_id for delivery in deliveries])

        self._store.write(save)
        self._show(stream, folded)

    def _meet_versions(self, known: MonitorMemory, predictions: Sequence[Prediction]) -> None:
        """Get the profiles of new versions, because binning their answers needs them."""
        for key in {(event.model, event.version) for event in predictions} - known.profiles.keys():
            profile = self._profiles.fetch(key)
            if profile is not None:
                self._store.remember_profile(key, profile)
                known.learn(key, profile)

    def _show(self, stream: str, folded: Folded) -> None:
        self._metrics.events.labels(stream).inc(folded.counted)
        self._metrics.duplicates.labels(stream).inc(folded.duplicates)
        self._metrics.too_late.labels(stream).inc(folded.too_late)


def prediction_fault(
    event: Prediction, models: Mapping[str, tuple[float, float]], latest: datetime | None
) -> str:
    """Return why a prediction cannot be counted, "" when it can.

    Args:
        models: Model -> lowest and highest score of its task.
        latest: As for `model_fault`.
    """
    if reason := model_fault(event, models, latest):
        return reason
    low, high = models[event.model]
    return (
        ""
        if low <= event.score <= high
        else f"score {event.score!r} lies outside {low:g} to {high:g}"
    )


def model_fault(
    event: Prediction | Outcome, models: Collection[str], latest: datetime | None
) -> str:
    """Return why a model's event cannot be counted, "" when it can.

    Args:
        models: The models with a spec.
        latest: Latest possible world time of an event. A later one would open a window that never
            closes. None while the world has no time.
    """
    if latest is not None and event.world_time > latest:
        return f"world_time {event.world_time.isoformat()} lies in the future"
    return "" if event.model in models else f"no spec for model {event.model!r}"
