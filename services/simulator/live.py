"""The present: as world time passes, things happen, are asked about and logged. Labels arrive.

These steps repeat for every batch between the cursor and now:

1. take the drifts that people cause
2. promise the batch
3. ask the gateway about each event once, without waiting for a gateway that is away
4. act on the answers, where the shop does (decisions.py), and show by them (shown.py)
5. append the decisions, the events, and the outcomes
6. move the cursor and renew the clock

A crash before the cursor moved repeats the batch with the same event ids. So nothing is lost, and
consumers drop what they have seen. A cursor that is gone ends the life with a WorldLostError. Then
history.py finds where it goes on. The promise keeps drift that was started meanwhile out of the
batch. So a repeated payment is the same as before.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import polars as pl
import structlog
from redis.exceptions import RedisError

from dojo.core.events.log import EventLog
from dojo.core.events.types import Event
from dojo.core.state.clock import ClockNotSetError, WorldClock, wall_now
from dojo.shop.drift_kinds import KINDS
from dojo.shop.events import Decision
from dojo.shop.world_drift import ActiveDrift, DriftError, DriftTable
from services.simulator import metrics
from services.simulator.clock_keeper import ClockKeeper
from services.simulator.decisions import Decided, Decisions
from services.simulator.drift.drifted_days import as_asked
from services.simulator.events import events_of, outcome_events
from services.simulator.feed import DueBatch, Feed
from services.simulator.gateway_client import GatewayClient, GatewayReply
from services.simulator.nightly import Nights
from services.simulator.shown import Shown
from services.simulator.world import RedisCursor

log = structlog.get_logger()

# Between looks at the clock, wall seconds. At 400 payments/s a batch is 8, which the gateway takes
# without a queue.
TICK_SECONDS = 0.02

# Between looks at a paused world's clock, wall seconds.
PAUSED_TICK_SECONDS = 0.2

# Events per batch. With TICK_SECONDS it bounds catching up after an outage to 1,000 a second.
# That is 2.5 times the need of the fastest demo. It is about half the capacity of one gateway core,
# so that catching up does not look like an attack.
BATCH_LIMIT = 20

# Pause between attempts while Redis is away, wall seconds.
REDIS_RETRY_SECONDS = 0.5

# The state on /healthz meanwhile.
WAITING_FOR_REDIS = "waiting for Redis"

# Behind by more than this many wall seconds is "catching up" in /healthz.
CATCHING_UP_SECONDS = 2.0


@dataclass(slots=True)
class LiveState:
    """The content of /healthz. The loop writes it, the health thread reads it."""

    state: str = "starting"
    cursor: datetime | None = None
    lag_seconds: float = 0.0
    exhausted: bool = False
    drifts: Mapping[str, float] = field(default_factory=dict)
    clock: str = ""

    def details(self) -> Mapping[str, object]:
        return {
            "state": self.state,
            "emitted_until": self.cursor,
            "lag_world_seconds": round(self.lag_seconds, 1),
            "replay_exhausted": self.exhausted,
            "drift_intensity": self.drifts,
            **({"clock": self.clock} if self.clock else {}),
        }


class LiveWorld:
    """Emits a world's present until told to stop.

    Args:
        last_day: The source's last day. None is endless.
    """

    def __init__(
        self,
        feed: Feed,
        last_day: date | None,
        clock: WorldClock,
        keeper: ClockKeeper,
        event_log: EventLog,
        cursor: RedisCursor,
        table: DriftTable,
        gateway: GatewayClient,
        decisions: Decisions,
        shown: Shown,
        nights: Nights,
        state: LiveState,
    ) -> None:
        self._feed = feed
        self._last_day = last_day
        self._clock, self._keeper = clock, keeper
        self._event_log = event_log
        self._cursor = cursor
        self._table = table
        self._gateway = gateway
        self._decisions, self._shown, self._nights = decisions, shown, nights
        self._state = state
        self._drifts: tuple[ActiveDrift, ...] = ()
        for kind in KINDS:
            metrics.DRIFT.labels(kind).set(0)
        for stream in feed.streams:
            metrics.EVENTS.labels(stream)  # shows 0 before the first event
        metrics.STANDING_STILL.set_function(lambda: float(keeper.stands_still()))

    async def run(self, position: datetime, stop: threading.Event) -> None:
        """Emit from `position` on.

        Redis calls block the loop on purpose, because nothing else runs in it between questions.
        """
        lived: datetime | None = None  # nothing before it changes any more
        while not stop.is_set():
            started = asyncio.get_running_loop().time()
            try:
                now, speed = self._clock.now(), self._clock.speed()
            except ClockNotSetError:  # Redis went away before the first look at the clock
                self._state.state = WAITING_FOR_REDIS
                await asyncio.sleep(REDIS_RETRY_SECONDS)
                continue
            if now > position:
                try:
                    lived = max(position, lived or self._cursor.lived(position))
                    self._take(self._table.settle(lived))
                except (RedisError, DriftError) as error:
                    await self._wait(error)
                    continue
                batch = self._feed.due(position, now, BATCH_LIMIT)
                if not await self._emit(batch, stop):
                    return
                position = batch.until
            try:
                self._keeper.keep(position)
            except RedisError as error:
                await self._wait(error)
                continue
            self._tell(position, now, speed)
            tick = PAUSED_TICK_SECONDS if speed == 0 and position >= now else TICK_SECONDS
            await asyncio.sleep(max(0.0, tick - (asyncio.get_running_loop().time() - started)))

    def _take(self, drifts: tuple[ActiveDrift, ...]) -> None:
        """Live on under these drifts, except drifts that the source cannot have."""
        if drifts == self._drifts:
            return
        possible = [drift for drift in drifts if self._feed.days.can(drift)]
        for drift in drifts:
            if drift not in self._drifts and not drift.hidden:
                log.info(
                    "drift",
                    kind=drift.kind,
                    started=str(drift.started),
                    ended=str(drift.ended),
                    acts=drift in possible,
                )
        self._feed.drift(possible)
        self._drifts = drifts

    async def _emit(self, batch: DueBatch, stop: threading.Event) -> bool:
        """Emit one batch. False when stopped while Redis was away.

        Then the next process repeats the batch.
        """
        if batch and not await self._written(lambda: self._cursor.promise(batch.until), stop):
            return False
        batch, decided, hidden = await self._answered(batch)
        wall = wall_now()
        known, earned = self._shown.due(batch.outcomes, wall)
        outcomes, settled = self._decisions.due(known, wall)
        settled += earned
        # Decisions first. A crash within the append then leaves no list without its decision.
        events: list[Event] = [*decided]
        for stream, rows in batch.events.items():
            events += events_of(stream, rows, wall)
        events += [*hidden, *outcome_events(outcomes, wall)]
        events += settled

        def append() -> None:
            if events:
                self._event_log.append(events)
            self._cursor.move(batch.until)

        if not await self._written(append, stop):
            return False
        for stream, rows in batch.events.items():
            metrics.EVENTS.labels(stream).inc(rows.height)
        metrics.OUTCOMES.inc(outcomes.height)
        metrics.count_decisions(decided, settled)
        return True

    async def _answered(self, batch: DueBatch) -> tuple[DueBatch, list[Decision], list[Event]]:
        """Ask about the batch, and decide. Also returns outcomes without a label.

        The rest of the batch may depend on the decisions, so it is asked about behind them.
        """
        first = {
            stream: rows
            for stream, rows in batch.events.items()
            if stream in self._decisions.first_asked
        }
        made = [self._decided(first, await self._ask(first))] if first else []
        batch = self._decisions.happening(batch)
        rest = {stream: rows for stream, rows in batch.events.items() if stream not in first}
        replies = await self._ask(rest)
        made.append(self._decided(rest, replies))
        made += [
            self._decisions.decide(night.events, night.replies, wall_now(), batch.until)
            for night in self._nights.found(self._feed.days, batch.until)
        ]
        shown = self._shown.decided(batch.events, replies, wall_now())
        decided = [one for part in made for one in part.decisions]
        hidden = [one for part in made for one in part.hidden]
        events = replace(batch, events=shown.events)
        return events, decided + shown.decisions, hidden + shown.hidden

    def _decided(self, events: Mapping[str, pl.DataFrame], replies: list[GatewayReply]) -> Decided:
        online = [one for one in replies if not self._nights.scores_alone(one.model)]
        return self._decisions.decide(events, online, wall_now())

    async def _ask(self, events: Mapping[str, pl.DataFrame]) -> list[GatewayReply]:
        asked = {stream: as_asked(rows, self._drifts) for stream, rows in events.items()}
        replies = await self._gateway.ask_all(asked)
        for reply in replies:
            metrics.GATEWAY_ANSWERS.labels(reply.ended).inc()
            if reply.ended != "skipped":
                metrics.GATEWAY_SECONDS.observe(reply.seconds)
        return replies

    async def _written(self, write: Callable[[], None], stop: threading.Event) -> bool:
        """Repeat a write until Redis has taken it. False when stopped before."""
        while not stop.is_set():
            try:
                write()
            except RedisError as error:
                metrics.APPEND_FAILURES.inc()
                await self._wait(error)
                continue
            return True
        return False

    async def _wait(self, error: RedisError | DriftError) -> None:
        """Say what the world waits for, and wait a little.

        A drift table that makes no sense stops the world, because going on without it would be
        undone later.
        """
        state = WAITING_FOR_REDIS if isinstance(error, RedisError) else f"waiting: {error}"
        if self._state.state != state:
            log.warning("the world waits, and its time stops", reason=str(error))
        self._state.state = state
        await asyncio.sleep(REDIS_RETRY_SECONDS)

    def _tell(self, position: datetime, now: datetime, speed: float) -> None:
        lag = max(timedelta(0), now - position).total_seconds()
        exhausted = self._last_day is not None and position.date() > self._last_day
        if exhausted and not self._state.exhausted:
            log.warning(
                "the replayed file has no more transactions; outcomes still arrive",
                last_day=self._last_day,
            )
        self._state.clock = self._keeper.told
        self._state.cursor, self._state.lag_seconds, self._state.exhausted = (
            position,
            lag,
            exhausted,
        )
        if exhausted:
            self._state.state = "replay exhausted"
        elif lag > CATCHING_UP_SECONDS * max(speed, 1.0):
            self._state.state = "catching up"
        else:
            self._state.state = "live" if speed > 0 else "paused"
        metrics.LAG.set(lag)
        metrics.EMITTED_UNTIL.set(position.timestamp())
        metrics.EXHAUSTED.set(exhausted)
        acting = [d for d in self._drifts if self._feed.days.can(d) and not d.hidden]
        intensity = {
            kind: max((d.intensity(position) for d in acting if d.kind == kind), default=0.0)
            for kind in KINDS
        }
        for kind, value in intensity.items():
            metrics.DRIFT.labels(kind).set(value)
        self._state.drifts = {kind: round(value, 3) for kind, value in intensity.items() if value}
