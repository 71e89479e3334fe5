"""The event log: append-only streams, delivered at least once to each consumer group.

A consumer reads, writes durably, then acknowledges. Another consumer reclaims messages that a dead
consumer left unacknowledged. Writes are idempotent on `event_id`, so processing is
effectively once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar, cast

import structlog
from redis import Redis
from redis.exceptions import ResponseError

from dojo.core.events.streams import encode
from dojo.core.events.types import Event

PAYLOAD_FIELD = b"event"

# Redis does one thing at a time. Reading 10,000 messages of 1 kB at once blocks its clients for 10
# to 30 ms. A feature lookup has a timeout of 30 ms. A page of this size takes below 1 ms, and
# Redis serves other clients between pages.
PAGE = 250

# Redis < 7 does not report a group's lag. A script counts it on the server, page by page, up to the
# number of messages kept by the log. Alerts compare the lag with this number.
_COUNT_AFTER = """
local rows = redis.call('xrange', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
return {#rows, #rows > 0 and rows[#rows][1] or ARGV[1]}
"""

_T = TypeVar("_T")
_log = structlog.get_logger()


def stream_key(stream: str) -> str:
    """Return the Redis key of a stream."""
    return f"dojo:stream:{stream}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a consumer group received it.

    The consumer decodes `payload`. One bad message can then be set aside without stopping the
    batch.
    """

    message_id: str
    payload: bytes


class EventLog(Protocol):
    """Append-only, at-least-once streams of events."""

    def append(self, events: Iterable[Event]) -> None:
        """Append events in order, in one round trip.

        Raises:
            redis.RedisError: The log is out of reach.
        """

    def read(
        self, stream: str, group: str, consumer: str, limit: int, block: timedelta
    ) -> Sequence[Delivery]:
        """Return up to `limit` messages new to the group.

        Waits at most `block` for the first one.
        """

    def reclaim(
        self, stream: str, group: str, consumer: str, limit: int, idle: timedelta
    ) -> Sequence[Delivery]:
        """Take over up to `limit` messages held unacknowledged for longer than `idle`."""

    def acknowledge(self, stream: str, group: str, message_ids: Sequence[str]) -> None: ...

    def lag(self, stream: str, group: str) -> int:
        """Return the number of messages that the group has yet to acknowledge.

        It adds pending messages and undelivered ones. The latter are counted up to the log's
        length.
        """


class RedisEventLog:
    """The event log on Redis Streams.

    Args:
        redis: The client.
        max_length: Messages kept per stream, approximately, because Redis trims whole nodes. It
            bounds Redis' memory. A consumer further behind loses the oldest messages, and `lag`
            shows this coming.
    """

    def __init__(self, redis: Redis, max_length: int) -> None:
        self._redis = redis
        self._max_length = max_length
        self._groups: set[tuple[str, str]] = set()

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

    def read(
        self, stream: str, group: str, consumer: str, limit: int, block: timedelta
    ) -> Sequence[Delivery]:
        wait: int | None = max(1, int(block.total_seconds() * 1000))
        found: list[Delivery] = []
        while len(found) < limit:
            page = self._read_page(stream, group, consumer, min(PAGE, limit - len(found)), wait)
            found += page
            if len(page) < PAGE:
                break
            wait = None  # only the first message is worth waiting for
        return found

    def _read_page(
        self, stream: str, group: str, consumer: str, limit: int, wait: int | None
    ) -> list[Delivery]:
        answer = self._in_group(
            stream,
            group,
            lambda: self._redis.xreadgroup(
                group, consumer, {stream_key(stream): ">"}, count=limit, block=wait
            ),
        )
        rows = cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", answer)
        return _deliveries(rows[0][1]) if rows else []

    def reclaim(
        self, stream: str, group: str, consumer: str, limit: int, idle: timedelta
    ) -> Sequence[Delivery]:
        def claim() -> list[tuple[bytes | None, dict[bytes, bytes] | None]]:
            claimed: list[tuple[bytes | None, dict[bytes, bytes] | None]] = []
            start = b"0-0"
            while len(claimed) < limit:
                count = min(PAGE, limit - len(claimed))
                idle_ms = int(idle.total_seconds() * 1000)
                answer = self._redis.xautoclaim(
                    stream_key(stream), group, consumer, idle_ms, start_id=start, count=count
                )
                start, page = cast("Any", answer)[:2]
                claimed += page
                if start == b"0-0":  # no more pending messages
                    break
            return claimed

        rows = self._in_group(stream, group, claim)
        while any(fields is None for _, fields in rows):
            # These were trimmed away while pending. Redis 6 keeps returning them without their id,
            # and they would hide the rest.
            self._forget_trimmed(stream, group)
            rows = claim()
        return _deliveries(rows)

    def acknowledge(self, stream: str, group: str, message_ids: Sequence[str]) -> None:
        for first in range(0, len(message_ids), PAGE):
            self._redis.xack(stream_key(stream), group, *message_ids[first : first + PAGE])

    def tail(self, stream: str, after: str, limit: int) -> Sequence[Delivery]:
        """Return up to `limit` messages behind the id `after`, oldest first.

        For readers outside any consumer group.
        """
        return _deliveries(
            cast("Any", self._redis.xrange(stream_key(stream), min=f"({after}", count=limit))
        )

    def holds(self, stream: str, message_id: str) -> bool:
        """Return whether an earlier message is still in the stream. "0-0" always is.

        Without it, the messages behind it may have been trimmed unread.
        """
        return message_id == "0-0" or bool(
            self._redis.xrange(stream_key(stream), min=message_id, max=message_id, count=1)
        )

    def last_id(self, stream: str) -> str:
        """Return the id of the newest message, "0-0" when there is none.

        `tail` continues from it.
        """
        rows = cast("Any", self._redis.xrevrange(stream_key(stream), count=1))
        return str(rows[0][0].decode()) if rows else "0-0"

    def lag(self, stream: str, group: str) -> int:
        self._create_group(stream, group)
        key = stream_key(stream)
        row = next(
            r
            for r in cast("list[dict[str, Any]]", self._redis.xinfo_groups(key))
            if r["name"] == group.encode()
        )
        behind, after = 0, row["last-delivered-id"]
        while behind < self._max_length:
            counted, after = cast(
                "tuple[int, bytes]", self._redis.eval(_COUNT_AFTER, 1, key, after, PAGE)
            )
            behind += counted
            if counted < PAGE:
                break
        return behind + int(row["pending"])

    def _in_group(self, stream: str, group: str, command: Callable[[], _T]) -> _T:
        """Run a command that needs the group.

        Makes the group when it is missing or Redis came back empty.
        """
        if (stream, group) not in self._groups:
            self._create_group(stream, group)
        try:
            return command()
        except ResponseError as error:
            # UNBLOCKED means that the stream went away while we were waiting on it.
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            self._create_group(stream, group)
            return command()

    def _create_group(self, stream: str, group: str) -> None:
        try:
            # From "0", so that a group made after the first events still sees them all.
            self._redis.xgroup_create(stream_key(stream), group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._groups.add((stream, group))

    def _forget_trimmed(self, stream: str, group: str) -> None:
        """Acknowledge pending messages that the stream no longer has. They are lost and logged."""
        key, start = stream_key(stream), "-"
        while page := cast(
            "list[dict[str, Any]]", self._redis.xpending_range(key, group, start, "+", PAGE)
        ):
            ids = [row["message_id"] for row in page]
            with self._redis.pipeline(transaction=False) as pipe:
                for message_id in ids:
                    pipe.xrange(key, message_id, message_id)
                gone = [
                    message_id
                    for message_id, found in zip(ids, pipe.execute(), strict=True)
                    if not found
                ]
            if gone:
                self._redis.xack(key, group, *gone)
                _log.warning(
                    "trimmed before they were processed",
                    stream=stream,
                    group=group,
                    messages=len(gone),
                )
            start = "(" + ids[-1].decode()


def _deliveries(rows: Sequence[tuple[bytes | None, dict[bytes, bytes] | None]]) -> list[Delivery]:
    """Return rows as deliveries.

    A message without our field gets an empty payload. No consumer can decode it, so it is set aside
    and not lost.
    """
    return [
        Delivery(mid.decode(), fields.get(PAYLOAD_FIELD, b""))
        for mid, fields in rows
        if mid is not None and fields
    ]
