"""The present: as world time passes, payments are made, asked about and logged, and outcomes become known.

For every batch between the cursor and now: ask the gateway about each payment (once; a payment does not wait for a gateway
that is away), append the transactions, append the outcomes, then move the cursor. A crash before the cursor moved repeats the
batch with the same event ids, so nothing is lost and consumers drop what they have seen.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog
from redis.exceptions import RedisError

from dojo.clock import ClockNotSetError, WorldClock, wall_now
from dojo.eventlog import EventLog
from services.simulator import metrics
from services.simulator.events import outcome_events, transaction_events
from services.simulator.feed import Batch, Feed
from services.simulator.gateway_client import GatewayClient
from services.simulator.world import RedisCursor

log = structlog.get_logger()

# Between looks at the clock, wall seconds: at 400 payments/s a batch is 8, which the gateway takes without a queue.
TICK_SECONDS = 0.02

# Between looks at a paused world's clock, wall seconds.
PAUSED_TICK_SECONDS = 0.2

# Payments per batch. With TICK_SECONDS it bounds catching up after an outage to 1,000 a second: 2.5 times what the fastest
# demo needs, and about half of what one gateway core can take, so that catching up does not look like an attack.
BATCH_LIMIT = 20

# Pause between attempts while Redis is away, wall seconds.
REDIS_RETRY_SECONDS = 0.5

# What /healthz says meanwhile.
WAITING_FOR_REDIS = "waiting for Redis"

# Behind by more than this many wall seconds is "catching up" in /healthz.
CATCHING_UP_SECONDS = 2.0


@dataclass(slots=True)
class LiveState:
    """What /healthz tells; written by the loop, read by the health thread."""

    state: str = "starting"
    cursor: datetime | None = None
    lag_seconds: float = 0.0
    exhausted: bool = False

    def details(self) -> Mapping[str, object]:
        return {
            "state": self.state,
            "emitted_until": self.cursor,
            "lag_world_seconds": round(self.lag_seconds, 1),
            "replay_exhausted": self.exhausted,
        }


class LiveWorld:
    """Emits a world's present until told to stop.

    Args:
        last_day: the source's last day; None: endless.
    """

    def __init__(
        self,
        feed: Feed,
        last_day: date | None,
        clock: WorldClock,
        event_log: EventLog,
        cursor: RedisCursor,
        gateway: GatewayClient,
        state: LiveState,
    ) -> None:
        self._feed = feed
        self._last_day = last_day
        self._clock = clock
        self._event_log = event_log
        self._cursor = cursor
        self._gateway = gateway
        self._state = state

    async def run(self, position: datetime, stop: threading.Event) -> None:
        """Emit from `position` on. Redis calls block the loop on purpose: nothing else runs in it between questions."""
        while not stop.is_set():
            started = asyncio.get_running_loop().time()
            try:
                now, speed = self._clock.now(), self._clock.speed()
            except ClockNotSetError:  # Redis went away before the first look at the clock
                self._state.state = WAITING_FOR_REDIS
                await asyncio.sleep(REDIS_RETRY_SECONDS)
                continue
            if now > position:
                batch = self._feed.due(position, now, BATCH_LIMIT)
                if not await self._emit(batch, stop):
                    return
                position = batch.until
            self._tell(position, now, speed)
            tick = PAUSED_TICK_SECONDS if speed == 0 and position >= now else TICK_SECONDS
            await asyncio.sleep(max(0.0, tick - (asyncio.get_running_loop().time() - started)))

    async def _emit(self, batch: Batch, stop: threading.Event) -> bool:
        """One batch; False when stopped while Redis was away (the batch is then repeated by the next process)."""
        for answer, seconds in await self._gateway.ask_all(batch.transactions):
            metrics.GATEWAY_ANSWERS.labels(answer).inc()
            if answer != "skipped":
                metrics.GATEWAY_SECONDS.observe(seconds)
        wall = wall_now()
        events = [*transaction_events(batch.transactions, wall), *outcome_events(batch.outcomes, wall)]
        while not stop.is_set():
            try:
                if events:
                    self._event_log.append(events)
                self._cursor.save(batch.until)
            except RedisError as error:
                metrics.APPEND_FAILURES.inc()
                if self._state.state != WAITING_FOR_REDIS:
                    log.warning("Redis is away: the world waits and will catch up", error=str(error))
                self._state.state = WAITING_FOR_REDIS
                await asyncio.sleep(REDIS_RETRY_SECONDS)
                continue
            metrics.TRANSACTIONS.inc(batch.transactions.height)
            metrics.OUTCOMES.inc(batch.outcomes.height)
            return True
        return False

    def _tell(self, position: datetime, now: datetime, speed: float) -> None:
        lag = max(timedelta(0), now - position).total_seconds()
        exhausted = self._last_day is not None and position.date() > self._last_day
        if exhausted and not self._state.exhausted:
            log.warning("the replayed file has no more transactions; outcomes still arrive", last_day=self._last_day)
        self._state.cursor, self._state.lag_seconds, self._state.exhausted = position, lag, exhausted
        if exhausted:
            self._state.state = "replay exhausted"
        elif lag > CATCHING_UP_SECONDS * max(speed, 1.0):
            self._state.state = "catching up"
        else:
            self._state.state = "live" if speed > 0 else "paused"
        metrics.LAG.set(lag)
        metrics.EMITTED_UNTIL.set(position.timestamp())
        metrics.EXHAUSTED.set(exhausted)
