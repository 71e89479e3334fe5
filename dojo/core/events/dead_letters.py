"""Dead letters: messages that a service cannot use, set aside for a person. They stop nothing.

    dojo:dead-letters:<service>    sorted set of DeadLetter as JSON, by the time in the message's id

A service keeps the letter, then acknowledges the message. If the service is killed in between, the
message comes again as the same member of the set. It is therefore kept and counted once.
`dojo dead-letters` shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, cast

import msgspec
import structlog
from prometheus_client import Counter
from redis import Redis

from dojo.core.events.log import PAGE, Delivery
from dojo.core.events.streams import MalformedEventError, decode
from dojo.core.events.types import Event

KEY = "dojo:dead-letters:{service}"

# The services that keep dead letters. The receiver reads no stream, so its `stream` is the channel.
Keeper = Literal["monitor", "receiver", "recorder", "responder", "streamer"]

# A broken producer may spoil each of its messages. The newest 500 are kept, at most 8 MB a service.
KEPT = 500

# Bytes. A whole prediction event is 3 kB, and people read no longer text.
LONGEST_PAYLOAD = 16_384

DEAD_LETTERS = Counter(
    "dojo_dead_letters_total", "Messages set aside for a person (dojo dead-letters).", ["stream"]
)

E = TypeVar("E", bound=Event)
Rejected = tuple[Delivery, str]  # a message, and why it cannot be used

_log = structlog.get_logger()


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that was set aside.

    Attributes:
        stream: The stream of the message.
        message_id: The event log's id. It begins with the wall time of writing, unix milliseconds.
        reason: Why the service cannot use it.
        payload: The payload as text, at most LONGEST_PAYLOAD bytes. Bytes that are no text become
            U+FFFD.
    """

    stream: str
    message_id: str
    reason: str
    payload: str


class DeadLetters:
    """One service's dead letters.

    When Redis is out of reach, methods raise redis.RedisError. The caller then repeats the call.

    Args:
        redis: The client.
        service: The service that keeps them.
        streams: Streams read by the service. Their counters begin at 0, because increase() misses a
            counter's first value.
    """

    def __init__(self, redis: Redis, service: Keeper, streams: Sequence[str] = ()) -> None:
        self._redis, self._key = redis, KEY.format(service=service)
        for stream in streams:
            DEAD_LETTERS.labels(stream)

    def keep(self, stream: str, rejected: Sequence[Rejected]) -> None:
        """Keep the messages, each once. Call it before they are acknowledged."""
        for first in range(0, len(rejected), PAGE):
            page = rejected[first : first + PAGE]
            with self._redis.pipeline() as pipe:
                pipe.zadd(self._key, {_encoded(stream, *one): _written_at(one[0]) for one in page})
                pipe.zremrangebyrank(self._key, 0, -KEPT - 1)
                new = cast("int", pipe.execute()[0])
            DEAD_LETTERS.labels(stream).inc(new)
            if new:
                _log.warning(
                    "set aside", stream=stream, messages=new, reason=page[0][1], kept_in=self._key
                )

    def newest(self, limit: int) -> list[DeadLetter]:
        """Return up to `limit` letters, newest first."""
        rows = cast("list[bytes]", self._redis.zrevrange(self._key, 0, limit - 1))
        return [msgspec.json.decode(row, type=DeadLetter) for row in rows]


def sift(
    kind: type[E], deliveries: Sequence[Delivery], fault: Callable[[E], str] = lambda _: ""
) -> tuple[list[tuple[Delivery, E]], list[Rejected]]:
    """Split messages into events of a kind and the rest. Keeps their order. Pure.

    Args:
        kind: The wanted type of event.
        deliveries: The messages.
        fault: Returns why an event cannot be used, "" where it can. The same event must give the
            same words each time.
    """
    events: list[tuple[Delivery, E]] = []
    rejected: list[Rejected] = []
    for delivery in deliveries:
        try:
            event = cast("E", decode(kind.stream, delivery.payload))
        except MalformedEventError as error:
            rejected.append((delivery, str(error)))
            continue
        if reason := fault(event):
            rejected.append((delivery, reason))
        else:
            events.append((delivery, event))
    return events, rejected


def _written_at(delivery: Delivery) -> float:
    return float(delivery.message_id.partition("-")[0])


def _encoded(stream: str, delivery: Delivery, reason: str) -> bytes:
    payload = delivery.payload[:LONGEST_PAYLOAD].decode(errors="replace")
    return msgspec.json.encode(DeadLetter(str(stream), delivery.message_id, reason, payload))
