"""What people are told: one stream of messages in Redis, with who is meant and how urgent it is.

    dojo:inbox        stream, newest KEPT messages; field `message` as JSON
    dojo:inbox:ids    sorted set of the newest KEPT_IDS message ids, by the time they were delivered

The same occasion is told once, whoever repeats it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, cast

import msgspec
from redis import Redis

from dojo.core.state.atomic import Check, Command, write_if
from dojo.core.state.clock import wall_now

STREAM_KEY = "dojo:inbox"
IDS_KEY = "dojo:inbox:ids"
FIELD = b"message"
KEPT = 10_000  # at 1 kB each 10 MB; months of messages
KEPT_IDS = 10 * KEPT  # an occasion is told again only when so many others were told since

RESOLVED = "resolved: "

Urgency = Literal["info", "warning", "page"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `message_id` names the occasion: the same occasion is told once. `urgency`: read it some time, today, now.

    Attributes:
        to: the team (a spec's owner). `title`: one line. `text`: what happened, what was found, what to do next.
            The end of what was told before begins with RESOLVED, and nobody has to do anything.
        source: which part of the platform speaks, and by which channel where it has several: `alertmanager/pager`.
    """

    message_id: str
    urgency: Urgency
    to: str
    model: str
    title: str
    text: str
    source: str
    world_time: datetime | None
    wall_time: datetime


def is_resolved(message: Message) -> bool:
    """Whether it tells of the end of a trouble."""
    return message.title.startswith(RESOLVED)


def is_from(message: Message, source: str) -> bool:
    """Whether `source` is its source, or the part of the platform that its source is a channel of."""
    return message.source == source or message.source.startswith(f"{source}/")


class Inbox:
    """Raises redis.RedisError when it is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def send(self, message: Message) -> bool:
        """Deliver a message; False when its id was delivered before."""
        new: Check = (("ZSCORE", IDS_KEY, message.message_id), b"")
        deliver: list[Command] = [
            ("XADD", STREAM_KEY, "MAXLEN", "~", KEPT, "*", FIELD, msgspec.json.encode(message)),
            ("ZADD", IDS_KEY, wall_now().timestamp(), message.message_id),
            ("ZREMRANGEBYRANK", IDS_KEY, 0, -KEPT_IDS - 1),
        ]
        return write_if(self._redis, [new], deliver) is None

    def newest(self, limit: int) -> list[Message]:
        """Up to `limit` messages, newest first."""
        rows = cast("list[tuple[bytes, dict[bytes, bytes]]]", self._redis.xrevrange(STREAM_KEY, count=limit))
        return [msgspec.json.decode(fields[FIELD], type=Message) for _, fields in rows]
