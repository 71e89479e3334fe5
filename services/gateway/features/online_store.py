"""Stored feature values by entity key. One round trip to Redis reads all entities of a request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from operator import itemgetter
from typing import Any, Protocol

import msgspec

from feature_repo.online_layout import MalformedValueError, entity_key, layout_of
from services.gateway.features.breaker import CircuitBreaker
from services.gateway.features.redis_client import RedisClient, RedisUnavailableError, command

# While the breaker is open, a probe asks Redis at this interval and waits this long. Healthy
# answers take < 2 ms. Redis' return is found within 0.6 s, well below the promised 5 s.
PROBE_EVERY_SECONDS = 0.5
PROBE_TIMEOUT_SECONDS = 0.1


class OnlineStoreUnavailableError(ConnectionError):
    """No feature values within the time given."""


class EntityRow(msgspec.Struct, frozen=True, gc=False):
    """One entity's values in the store, in EntityFields' order.

    The gateway remembers tens of thousands of rows, and tracking each would cost the garbage
    collector a microsecond. Rows hold only numbers, so gc=False is safe.

    Attributes:
        values: 0 where the store has none, as in training.
        timestamps: Time per view when its values became true, unix seconds, world time. None
            without a row.
    """

    values: tuple[float, ...]
    timestamps: tuple[float | None, ...]

    @property
    def is_unknown(self) -> bool:
        return not any(self.timestamps)


class EntityFields:
    """A model's features (view, feature) of one kind of entity, as a prepared HMGET."""

    def __init__(self, entity: str, features: Sequence[tuple[str, str]]) -> None:
        self.entity = entity
        self.features = tuple(feature for _, feature in features)
        self.views = tuple(dict.fromkeys(view for view, _ in features))
        self._layouts = tuple(map(layout_of, self.views))
        stored = [
            (view, name)
            for view, layout in zip(self.views, self._layouts, strict=True)
            for name in layout.features
        ]
        self._picked = tuple(map(stored.index, features))
        self._pick = itemgetter(*self._picked, self._picked[0])  # two at least: always a tuple
        # Only the key differs between requests, so the rest of the command is prepared once.
        whole = command(b"HMGET", b"", *(layout.field for layout in self._layouts))
        self._head, self._tail = whole.split(b"$0\r\n", 1)

    def command(self, value: str) -> bytes:
        key = entity_key(self.entity, value)
        return b"%b$%d\r\n%b%b" % (self._head, len(key), key, self._tail)

    def row(self, reply: Sequence[bytes | None]) -> EntityRow:
        """Return the row in a reply.

        Raises:
            MalformedValueError: The row belongs to another catalogue, or a number is not finite.
        """
        stored: list[float | None] = []
        timestamps: list[float | None] = []
        for layout, packed in zip(self._layouts, reply, strict=True):
            view = None if packed is None else layout.unpack(packed)
            stored += view.values if view else layout.no_values
            timestamps.append(view.event_time / 1e6 if view else None)
        try:
            values = self._pick(stored)[:-1]
            total = sum(values)
        except TypeError:  # a missing value
            values = tuple([stored[at] or 0.0 for at in self._picked])
            total = sum(values)
        if not math.isfinite(total):
            raise MalformedValueError(f"a value of a {self.entity} is not finite")
        return EntityRow(values, tuple(timestamps))

    @cached_property
    def unknown(self) -> EntityRow:
        """Return the row of an entity unknown to the store."""
        return EntityRow((0.0,) * len(self.features), (None,) * len(self.views))


@cache
def fields_of(entity: str, features: tuple[tuple[str, str], ...]) -> EntityFields:
    """Return the one EntityFields of these features, so that versions with the same share rows."""
    return EntityFields(entity, features)


class OnlineStore(Protocol):
    """Reads entities' latest stored values."""

    async def read(
        self, wanted: Sequence[tuple[EntityFields, str]], timeout: float
    ) -> list[EntityRow]:
        """Return one row per (fields, key), in order.

        Args:
            timeout: Seconds.

        Raises:
            OnlineStoreUnavailableError: The store did not return all rows within `timeout`.
        """


class EntityHashReader:
    """Entities' hashes in Redis, behind a circuit breaker. `run` probes while the breaker is open.

    Args:
        malformed: Called for each row that does not fit the present catalogue. The entity then
            counts as unknown. One bad row does not become a confident score, and it does not open
            the breaker for all entities.
    """

    def __init__(
        self,
        client: RedisClient,
        breaker: CircuitBreaker,
        malformed: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._breaker = breaker
        self._malformed = malformed

    async def read(
        self, wanted: Sequence[tuple[EntityFields, str]], timeout: float
    ) -> list[EntityRow]:
        if self._breaker.is_open:
            raise OnlineStoreUnavailableError("the circuit breaker is open")
        payload = b"".join([fields.command(key) for fields, key in wanted])
        try:
            replies = await self._client.call(payload, len(wanted), timeout)
            if refused := next(
                (reply for reply in replies if isinstance(reply, RedisUnavailableError)), None
            ):
                raise refused
        except RedisUnavailableError as error:
            self._breaker.failed()
            raise OnlineStoreUnavailableError(str(error)) from error
        self._breaker.succeeded()
        return [
            self._row(fields, reply) for (fields, _), reply in zip(wanted, replies, strict=True)
        ]

    def _row(self, fields: EntityFields, reply: Any) -> EntityRow:
        try:
            return fields.row(reply)
        except MalformedValueError:
            self._malformed()
            return fields.unknown

    async def run(self) -> None:
        """Probe Redis while the breaker is open, until cancelled."""
        ping = command(b"PING")
        while True:
            await asyncio.sleep(PROBE_EVERY_SECONDS)
            if self._breaker.is_open:
                try:
                    (reply,) = await self._client.call(ping, 1, PROBE_TIMEOUT_SECONDS)
                except RedisUnavailableError:
                    continue
                # An error reply such as -LOADING means that Redis is back, but not ready.
                if not isinstance(reply, RedisUnavailableError):
                    self._breaker.succeeded()
