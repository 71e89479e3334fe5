"""From the event log into evidence: pages behind the cursors, malformed events and lost ones counted."""

from __future__ import annotations

from collections.abc import Iterable

from dojo.core.events.log import PAGE, RedisEventLog
from dojo.core.events.types import MalformedEventError, Stream, decode
from dojo.core.judging.rollout.evidence import Evidence
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.rollouts import Rollout
from services.rollout.fold import STREAMS, fold_all

# Pages per stream and look: 10,000 events are decoded in a quarter of a second. A longer backlog takes several looks.
PAGES = 40


class EventReader:
    """Reads what a stage's evidence has not seen yet. Raises redis.RedisError when the log is out of reach."""

    def __init__(self, log: RedisEventLog) -> None:
        self._log = log

    def newest(self, streams: Iterable[Stream]) -> dict[str, str]:
        """Cursors behind everything that is there now."""
        return {stream: self._log.last_id(stream) for stream in streams}

    def read(self, evidence: Evidence, rollout: Rollout, spec: ModelSpec) -> tuple[int, bool]:
        """Fold new events in. Returns how many messages were read, and whether nothing was left behind."""
        total, caught_up = 0, True
        for stream in STREAMS[evidence.stage]:  # predictions before outcomes: most labels then find theirs at once
            messages, all_of_it = self._read_stream(stream, evidence, rollout, spec)
            total, caught_up = total + messages, caught_up and all_of_it
        return total, caught_up

    def _read_stream(self, stream: Stream, evidence: Evidence, rollout: Rollout, spec: ModelSpec) -> tuple[int, bool]:
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
