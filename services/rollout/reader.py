"""From the event log into evidence. Counts malformed and lost events."""

from __future__ import annotations

from collections.abc import Iterable

from dojo.core.events.log import PAGE, RedisEventLog
from dojo.core.events.streams import MalformedEventError, decode
from dojo.core.judging.rollout.evidence import Evidence
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.rollouts import Rollout
from services.rollout.fold import STREAMS, fold_all

# Pages per stream and look. 10,000 events are decoded in a quarter of a second. A longer backlog
# takes several looks.
PAGES = 40


class EventReader:
    """Reads new events for a stage's evidence. Raises redis.RedisError without the log."""

    def __init__(self, log: RedisEventLog) -> None:
        self._log = log

    def newest(self, streams: Iterable[str]) -> dict[str, str]:
        """Return cursors behind all present messages."""
        return {stream: self._log.last_id(stream) for stream in streams}

    def read(self, evidence: Evidence, rollout: Rollout, spec: ModelSpec) -> tuple[int, bool]:
        """Fold new events in.

        Returns:
            The number of messages read, and whether all of them were.
        """
        total, caught_up = 0, True
        # Predictions come before outcomes, so that most labels find theirs at once.
        for stream in STREAMS[evidence.stage]:
            messages, all_of_it = self._read_stream(stream, evidence, rollout, spec)
            total, caught_up = total + messages, caught_up and all_of_it
        return total, caught_up

    def _read_stream(
        self, stream: str, evidence: Evidence, rollout: Rollout, spec: ModelSpec
    ) -> tuple[int, bool]:
        total = 0
        for _ in range(PAGES):
            after = evidence.cursors[stream]
            page = self._log.tail(stream, after, PAGE)
            if page and not self._log.holds(stream, after):
                evidence.gaps += 1
                evidence.requests_before_gap = evidence.challenger.requests
            events = []
            for delivery in page:
                try:
                    events.append(decode(stream, delivery.payload))
                except MalformedEventError:
                    evidence.malformed += 1
            fold_all(evidence, events, rollout, spec)
            total += len(page)
            if page:
                evidence.cursors[stream] = page[-1].message_id
            if len(page) < PAGE:
                return total, True
        return total, False
