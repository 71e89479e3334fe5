"""From the event log into evidence. Counts malformed and lost events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from dojo.core.events.log import PAGE, RedisEventLog
from dojo.core.events.streams import MalformedEventError, decode
from dojo.core.events.types import Event
from dojo.core.judging.rollout.evidence import Evidence
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.rollouts import Rollout
from services.rollout.fold import STREAMS, fold_all

# Pages per stream and look. 10,000 events are decoded in a quarter of a second. A longer backlog
# takes several looks.
PAGES = 40


class Reading(Protocol):
    """What a reader keeps: stream -> id of the last message read, and the faults met."""

    cursors: dict[str, str]
    malformed: int

    def lost_events(self) -> None:
        """Note that the stream dropped messages before they were read."""


class EventReader:
    """Reads new events into evidence. Raises redis.RedisError without the log."""

    def __init__(self, log: RedisEventLog) -> None:
        self._log = log

    def newest(self, streams: Iterable[str]) -> dict[str, str]:
        """Return cursors behind all present messages."""
        return {stream: self._log.last_id(stream) for stream in streams}

    def read(self, evidence: Evidence, rollout: Rollout, spec: ModelSpec) -> tuple[int, bool]:
        """Fold new events into a rollout's stage. Returns as `read_into`."""
        return self.read_into(
            evidence,
            STREAMS[evidence.stage],
            lambda events: fold_all(evidence, events, rollout, spec),
        )

    def read_into(
        self, reading: Reading, streams: Iterable[str], fold: Callable[[Sequence[Event]], None]
    ) -> tuple[int, bool]:
        """Fold new events in.

        Args:
            reading: Where the last reading ended.
            streams: The streams, in order. Predictions come before outcomes, so that most labels
                find theirs at once.
            fold: Takes each page of events.

        Returns:
            The number of messages read, and whether all of them were.
        """
        total, caught_up = 0, True
        for stream in streams:
            messages, all_of_it = self._read_stream(stream, reading, fold)
            total, caught_up = total + messages, caught_up and all_of_it
        return total, caught_up

    def _read_stream(
        self, stream: str, reading: Reading, fold: Callable[[Sequence[Event]], None]
    ) -> tuple[int, bool]:
        total = 0
        for _ in range(PAGES):
            after = reading.cursors[stream]
            page = self._log.tail(stream, after, PAGE)
            if page and not self._log.holds(stream, after):
                reading.lost_events()
            events = []
            for delivery in page:
                try:
                    events.append(decode(stream, delivery.payload))
                except MalformedEventError:
                    reading.malformed += 1
            fold(events)
            total += len(page)
            if page:
                reading.cursors[stream] = page[-1].message_id
            if len(page) < PAGE:
                return total, True
        return total, False
