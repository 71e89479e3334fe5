"""One batch of the streamer: read, update windows, push, acknowledge. Redelivery, late and malformed events are no special cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from dojo.core.events.dead_letters import DeadLetters, sift
from dojo.core.events.log import Delivery, EventLog
from dojo.core.events.types import Stream, Transaction
from feature_repo.catalog import CUSTOMER_ACTIVITY, ENTITY_KEYS, MERCHANT_ACTIVITY, View
from services.streamer import activity
from services.streamer.metrics import StreamerMetrics
from services.streamer.windows import RedisWindows, SlidingWindow

STREAM = Stream.TRANSACTIONS
GROUP = "streamer"

# One name for every incarnation: a restarted streamer finds what its predecessor left under its own name.
CONSUMER = "streamer"

# Messages per round. Two pushes a round cost some 20 ms whatever their size; 500 rows more cost as much again.
BATCH = 500

# A payment from further ahead than clocks disagree (a second of wall time at the fastest speed is a day) is a producer's fault. Its
# entity's window would start there, and every real payment would look too old for it.
FUTURE_TOLERANCE = timedelta(days=1)

_ACTIVITY: dict[str, Callable[[SlidingWindow], dict[str, float]]] = {
    CUSTOMER_ACTIVITY.name: activity.customer_activity,
    MERCHANT_ACTIVITY.name: activity.merchant_activity,
}


class OnlinePush(Protocol):
    """Brings rows of a streaming view online; older rows than the stored ones are ignored."""

    def __call__(self, view: str, rows: Sequence[Mapping[str, object]]) -> None: ...


@dataclass(frozen=True, slots=True)
class Round:
    """What one batch did. `latest` is the newest world time in it."""

    messages: int
    latest: datetime | None


class Streamer:
    """Applies batches of transactions to the online store."""

    def __init__(
        self,
        event_log: EventLog,
        dead_letters: DeadLetters,
        windows: RedisWindows,
        push: OnlinePush,
        metrics: StreamerMetrics,
        world_now: Callable[[], datetime | None],
    ) -> None:
        """world_now: None while the world has no time (its history is being built)."""
        self._log, self._dead_letters, self._windows = event_log, dead_letters, windows
        self._push, self._metrics, self._world_now = push, metrics, world_now

    def next_round(self, block: timedelta) -> Round:
        """Apply up to BATCH new messages, waiting at most `block` for the first."""
        return self.apply(self._log.read(STREAM, GROUP, CONSUMER, BATCH, block))

    def reclaim_round(self, idle: timedelta) -> Round:
        """Apply up to BATCH messages that were delivered longer than `idle` ago and never acknowledged."""
        return self.apply(self._log.reclaim(STREAM, GROUP, CONSUMER, BATCH, idle))

    def apply(self, deliveries: Sequence[Delivery]) -> Round:
        """Windows, then push, then acknowledgement: whatever dies in between is delivered again and gives the same rows."""
        now = self._world_now()
        latest = now + FUTURE_TOLERANCE if now is not None else None

        def fault(event: Transaction) -> str:
            if latest is None or event.world_time <= latest:
                return ""
            return f"transactions: world_time {event.world_time} lies ahead of the world"

        found, rejected = sift(Transaction, deliveries, fault)
        transactions = [event for _, event in found]
        for view in (CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY):
            self._bring_online(view, transactions)
        self._dead_letters.keep(STREAM, rejected)
        self._log.acknowledge(STREAM, GROUP, [delivery.message_id for delivery in deliveries])
        self._metrics.events.inc(len(transactions))
        return Round(len(deliveries), max((event.world_time for event in transactions), default=None))

    def _bring_online(self, view: View, transactions: Sequence[Transaction]) -> None:
        if not transactions:
            return
        key_name = ENTITY_KEYS[view.entity]
        by_key: dict[str, list[Transaction]] = defaultdict(list)
        for event in transactions:
            by_key[getattr(event, key_name)].append(event)
        windows = self._windows.add(view.entity, by_key)
        rows = [
            {key_name: key, "event_timestamp": activity.online_timestamp(window), **_ACTIVITY[view.name](window)}
            for key, window in windows.items()
        ]
        with self._metrics.push_seconds.time():
            self._push(view.name, rows)
