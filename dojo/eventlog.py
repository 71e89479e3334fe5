"""The event log: append-only streams, delivered at least once to each consumer group.

A consumer reads, writes durably, then acknowledges; what a dead consumer left unacknowledged is reclaimed by the next.
Together with writes that are idempotent on `event_id` that gives effectively-once processing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, cast

from redis import Redis
from redis.exceptions import ResponseError

from dojo.events import Event, Stream, encode

PAYLOAD_FIELD = b"event"

# Redis < 7 does not report a group's lag. Counted on the server, up to a bound, so that asking stays cheap.
LAG_COUNTED_TO = 50_000
_COUNT_AFTER = "return #redis.call('xrange', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])"


def stream_key(stream: Stream) -> str:
    """The Redis key of a stream."""
    return f"dojo:stream:{stream}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a consumer group received it; `payload` is decoded by the consumer, so that one bad message can be
    set aside instead of stopping the batch."""

    message_id: str
    payload: bytes


class EventLog(Protocol):
    """Append-only, at-least-once streams of events."""

    def append(self, events: Iterable[Event]) -> None:
        """Append in order, in one round trip. Raises `redis.RedisError` when the log is out of reach."""

    def read(self, stream: Stream, group: str, consumer: str, limit: int, block: timedelta) -> Sequence[Delivery]:
        """Up to `limit` messages the group has not seen, waiting at most `block` for the first one."""

    def reclaim(self, stream: Stream, group: str, consumer: str, limit: int, idle: timedelta) -> Sequence[Delivery]:
        """Take over up to `limit` messages that some consumer has held unacknowledged for longer than `idle`."""

    def acknowledge(self, stream: Stream, group: str, message_ids: Sequence[str]) -> None: ...

    def lag(self, stream: Stream, group: str) -> int:
        """Messages the group has yet to acknowledge: undelivered (counted up to LAG_COUNTED_TO) and pending ones."""


class RedisEventLog:
    """The event log on Redis Streams.

    Args:
        max_length: messages kept per stream (approximately: Redis trims whole nodes). It bounds Redis' memory; a consumer
            that stays away for longer than that many messages loses the oldest, which `lag` shows coming.
    """

    def __init__(self, redis: Redis, max_length: int) -> None:
        self._redis = redis
        self._max_length = max_length
        self._groups: set[tuple[Stream, str]] = set()

    def append(self, events: Iterable[Event]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.xadd(
                    stream_key(event.stream),
                    {PAYLOAD_FIELD: encode(event)},
                    maxlen=self._max_length,
                    approximate=True,
                )
            pipe.execute()

    def read(self, stream: Stream, group: str, consumer: str, limit: int, block: timedelta) -> Sequence[Delivery]:
        self._ensure_group(stream, group)
        try:
            answer = self._redis.xreadgroup(
                group,
                consumer,
                {stream_key(stream): ">"},
                count=limit,
                block=max(1, int(block.total_seconds() * 1000)),
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._groups.discard((stream, group))  # Redis came back empty: make the group anew on the next read
            return ()
        rows = cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", answer)
        return _deliveries(rows[0][1]) if rows else ()

    def reclaim(self, stream: Stream, group: str, consumer: str, limit: int, idle: timedelta) -> Sequence[Delivery]:
        self._ensure_group(stream, group)
        answer = self._redis.xautoclaim(
            stream_key(stream), group, consumer, min_idle_time=int(idle.total_seconds() * 1000), count=limit
        )
        return _deliveries(cast("Any", answer)[1])

    def acknowledge(self, stream: Stream, group: str, message_ids: Sequence[str]) -> None:
        if message_ids:
            self._redis.xack(stream_key(stream), group, *message_ids)

    def tail(self, stream: Stream, after: str, limit: int) -> Sequence[Delivery]:
        """Up to `limit` messages behind the id `after`, oldest first, for onlookers that are no consumer group."""
        return _deliveries(cast("Any", self._redis.xrange(stream_key(stream), min=f"({after}", count=limit)))

    def last_id(self, stream: Stream) -> str:
        """The id of the newest message, "0-0" when there is none; what `tail` continues from."""
        rows = cast("Any", self._redis.xrevrange(stream_key(stream), count=1))
        return str(rows[0][0].decode()) if rows else "0-0"

    def lag(self, stream: Stream, group: str) -> int:
        self._ensure_group(stream, group)
        key = stream_key(stream)
        for row in cast("list[dict[str, Any]]", self._redis.xinfo_groups(key)):
            if row["name"] == group.encode():
                behind = self._redis.eval(_COUNT_AFTER, 1, key, row["last-delivered-id"], LAG_COUNTED_TO)
                return int(cast("int", behind)) + int(row["pending"])
        return 0

    def _ensure_group(self, stream: Stream, group: str) -> None:
        if (stream, group) in self._groups:
            return
        try:
            # From "0": a group made after the first events still sees them all.
            self._redis.xgroup_create(stream_key(stream), group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._groups.add((stream, group))


def _deliveries(rows: Sequence[tuple[bytes, dict[bytes, bytes] | None]]) -> list[Delivery]:
    # A message that was trimmed while pending comes back without fields.
    return [Delivery(mid.decode(), fields.get(PAYLOAD_FIELD, b"")) for mid, fields in rows if fields]
