"""Stored feature values by entity key, straight from Redis: all entities of a request in one round trip."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import msgspec

from feature_repo.online_layout import MalformedValueError, entity_key, layout_of
from services.gateway.features.breaker import CircuitBreaker
from services.gateway.features.redis_client import RedisClient, RedisUnavailableError, command

# While the breaker is open, Redis is asked this often, and has this long to answer (healthy answers take < 2 ms).
# Found within 0.6 s of Redis' return, well below the 5 s we promise.
PROBE_EVERY_SECONDS = 0.5
PROBE_TIMEOUT_SECONDS = 0.1


class OnlineStoreUnavailableError(ConnectionError):
    """No feature values within the time given."""


class EntityRow(msgspec.Struct, frozen=True, gc=False):
    """What the store has of one entity, in EntityFields' order. Tens of thousands are remembered: the garbage collector, to
    which each would cost a microsecond of everybody's time, does not track them (gc=False; they hold only numbers).

    Attributes:
        values: 0 where the store has none, as in training.
        timestamps: per view, when its values became true (unix seconds, world time); None: no row.
    """

    values: tuple[float, ...]
    timestamps: tuple[float | None, ...]

    @property
    def is_unknown(self) -> bool:
        return not any(self.timestamps)


class EntityFields:
    """What a model reads of one kind of entity: features (view, feature) and their views, as one prepared HMGET."""

    def __init__(self, entity: str, features: Sequence[tuple[str, str]]) -> None:
        self.entity = entity
        self.features = tuple(feature for _, feature in features)
        self.views = tuple(dict.fromkeys(view for view, _ in features))
        self._layouts = tuple(map(layout_of, self.views))
        stored = [(view, name) for view, layout in zip(self.views, self._layouts, strict=True) for name in layout.features]
        self._picked = tuple(map(stored.index, features))
        # Everything of the command but the key is the same for every request.
        whole = command(b"HMGET", b"", *(layout.field for layout in self._layouts))
        self._head, self._tail = whole.split(b"$0\r\n", 1)

    def command(self, value: str) -> bytes:
        key = entity_key(self.entity, value)
        return b"%b$%d\r\n%b%b" % (self._head, len(key), key, self._tail)

    def row(self, reply: Sequence[bytes | None]) -> EntityRow:
        """Raises MalformedValueError: written for another catalogue, or not a finite number."""
        stored: list[float | None] = []
        timestamps: list[float | None] = []
        for layout, packed in zip(self._layouts, reply, strict=True):
            view = None if packed is None else layout.unpack(packed)
            stored += view.values if view else layout.no_values
            timestamps.append(view.event_time / 1e6 if view else None)
        values = tuple([stored[at] or 0.0 for at in self._picked])
        if not math.isfinite(sum(values)):
            raise MalformedValueError(f"a value of a {self.entity} is not finite")
        return EntityRow(values, tuple(timestamps))

    @cached_property
    def unknown(self) -> EntityRow:
        """The row of an entity that the store has never heard of."""
        return EntityRow((0.0,) * len(self.features), (None,) * len(self.views))


class OnlineStore(Protocol):
    """Reads entities' latest stored values."""

    async def read(self, wanted: Sequence[tuple[EntityFields, str]], timeout: float) -> list[EntityRow]:
        """One row per (fields, key), in order.

        Args:
            timeout: seconds.

        Raises:
            OnlineStoreUnavailableError: not all of them within `timeout`.
        """


class EntityHashReader:
    """Entities' hashes in Redis, behind a circuit breaker. `run` probes while the breaker is open.

    Args:
        malformed: Called for each row that the present catalogue cannot have written. The entity then counts as unknown: one bad
            row neither becomes a confident score nor opens the breaker for all.
    """

    def __init__(self, client: RedisClient, breaker: CircuitBreaker, malformed: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._breaker = breaker
        self._malformed = malformed

    async def read(self, wanted: Sequence[tuple[EntityFields, str]], timeout: float) -> list[EntityRow]:
        if self._breaker.is_open:
            raise OnlineStoreUnavailableError("the circuit breaker is open")
        payload = b"".join([fields.command(key) for fields, key in wanted])
        try:
            replies = await self._client.call(payload, len(wanted), timeout)
            if refused := next((reply for reply in replies if isinstance(reply, RedisUnavailableError)), None):
                raise refused
        except RedisUnavailableError as error:
            self._breaker.failed()
            raise OnlineStoreUnavailableError(str(error)) from error
        self._breaker.succeeded()
        return [self._row(fields, reply) for (fields, _), reply in zip(wanted, replies, strict=True)]

    def _row(self, fields: EntityFields, reply: Any) -> EntityRow:
        try:
            return fields.row(reply)
        except MalformedValueError:
            self._malformed()
            return fields.unknown

    async def run(self) -> None:
        """Ask Redis for a sign of life while the breaker is open, until cancelled."""
        ping = command(b"PING")
        while True:
            await asyncio.sleep(PROBE_EVERY_SECONDS)
            if self._breaker.is_open:
                try:
                    (reply,) = await self._client.call(ping, 1, PROBE_TIMEOUT_SECONDS)
                except RedisUnavailableError:
                    continue
                if not isinstance(reply, RedisUnavailableError):  # such as -LOADING: it is back, but not ready
                    self._breaker.succeeded()
