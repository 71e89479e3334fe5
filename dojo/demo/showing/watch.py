"""The demo's sources while traffic flows.

These are the tail of the event log, the features' freshness, the clock and the rollout.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from dojo.core.events.log import RedisEventLog
from dojo.core.events.streams import MalformedEventError, decode
from dojo.core.events.types import Outcome, Prediction, Stream
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.freshness import ViewFreshness, read_freshness
from dojo.demo.showing.tally import Tally
from dojo.demo.showing.view import Frame
from dojo.shop.events import TRANSACTIONS, Transaction

# Messages read from a stream per view. It is three seconds of the demo's traffic, so reading never
# blocks the view for long.
BATCH = 2_000

# In the order in which a payment passes them.
STREAMS = (TRANSACTIONS, Stream.PREDICTIONS, Stream.OUTCOMES)

# Wall seconds over which traffic per second is averaged. Long enough to be steady, short enough to
# be "now".
RATE_WINDOW_SECONDS = 5.0


class Watcher:
    """Follows a model's predictions and outcomes since this object was made.

    Attributes:
        trained_as_of: World time at which the champion's training data ends. None while no version
            serves.
    """

    def __init__(self, redis: Redis, model: str, clock: RedisWorldClock) -> None:
        self.tally = Tally()
        self.began = self.start = self.end = clock.now()
        self.trained_as_of: datetime | None = None
        self._redis, self._model, self._clock = redis, model, clock
        self._freshness: Mapping[str, ViewFreshness] = {}
        self._log = RedisEventLog(redis, max_length=1)  # only read here
        self._after = {stream: self._log.last_id(stream) for stream in STREAMS}
        self._rate: deque[tuple[float, int]] = deque()

    def look(self) -> Frame:
        """Read new events and describe the present.

        A Redis that is away leaves the last state standing.
        """
        try:
            for stream in self._after:
                self._follow(stream)
            self._freshness = read_freshness(self._redis)
        except RedisError:
            pass
        world = self._clock.now()
        tally = self.tally.snapshot()
        return Frame(
            world=world,
            start=self.start,
            end=self.end,
            speed=self._clock.speed(),
            per_second=self._per_second(tally.predictions),
            tally=tally,
            freshness=self._freshness,
            model_age=world - self.trained_as_of if self.trained_as_of else None,
        )

    def watch_until(self, end: datetime) -> None:
        """Set the end of the coming phase, world time, for progress bars."""
        self.start, self.end = self._clock.now(), end

    def _follow(self, stream: str) -> None:
        while deliveries := self._log.tail(stream, self._after[stream], BATCH):
            self._after[stream] = deliveries[-1].message_id
            for delivery in deliveries:
                try:
                    event = decode(stream, delivery.payload)
                except MalformedEventError:
                    continue  # the recorder sets it aside and counts it
                if stream == TRANSACTIONS:
                    self.tally.add_transaction(cast("Transaction", event))
                elif cast("Prediction | Outcome", event).model != self._model:
                    continue
                elif stream == Stream.PREDICTIONS:
                    self.tally.add_prediction(cast("Prediction", event))
                else:
                    self.tally.add_outcome(cast("Outcome", event))

    def _per_second(self, predictions: int) -> float:
        now = time.monotonic()
        self._rate.append((now, predictions))
        while now - self._rate[0][0] > RATE_WINDOW_SECONDS:
            self._rate.popleft()
        (first, before), (last, after) = self._rate[0], self._rate[-1]
        return (after - before) / (last - first) if last > first else 0.0
