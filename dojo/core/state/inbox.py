"""Messages to people: one stream in Redis, with the receiver and the urgency of each message.

    dojo:inbox        stream, newest KEPT messages; field `message` as JSON
    dojo:inbox:ids    sorted set of the newest KEPT_IDS message ids, by the time they were delivered

The same occasion is told once, even when several processes repeat it.
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


class Notice(msgspec.Struct, frozen=True):
    """What a process has to say.

    Attributes:
        message_id: Names the occasion for good.
        urgency: `info` can wait, `warning` is for today, `page` is for now.
        title: One line. The end of an earlier trouble begins with RESOLVED, and asks for nothing.
        text: What happened, what was found, what to do next.
    """

    message_id: str
    urgency: Urgency
    title: str
    text: str


class Message(Notice, frozen=True, kw_only=True):
    """A notice as it was told.

    Attributes:
        to: The team (a spec's owner).
        model: The model, or another part of the platform, that the message is about.
        source: The part of the platform that speaks. It names the channel when there are several,
            as in `alertmanager/pager`.
    """

    to: str
    model: str
    source: str
    world_time: datetime | None
    wall_time: datetime


def is_resolved(notice: Notice) -> bool:
    """Whether a notice tells of the end of a trouble."""
    return notice.title.startswith(RESOLVED)


def is_from(message: Message, source: str) -> bool:
    """Whether `source` sent a message, directly or through one of its channels."""
    return message.source == source or message.source.startswith(f"{source}/")


class Notifier:
    """Tells people, on behalf of one part of the platform.

    Raises redis.RedisError when the inbox is out of reach. The caller repeats it.
    """

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis, self._source = redis, source

    def tell(self, to: str, model: str, notice: Notice, world_time: datetime | None) -> bool:
        """Deliver a notice. False when its occasion was told before."""
        message = Message(
            **msgspec.structs.asdict(notice),
            to=to,
            model=model,
            source=self._source,
            world_time=world_time,
            wall_time=wall_now(),
        )
        new: Check = (("ZSCORE", IDS_KEY, message.message_id), b"")
        deliver: list[Command] = [
            ("XADD", STREAM_KEY, "MAXLEN", "~", KEPT, "*", FIELD, msgspec.json.encode(message)),
            ("ZADD", IDS_KEY, message.wall_time.timestamp(), message.message_id),
            ("ZREMRANGEBYRANK", IDS_KEY, 0, -KEPT_IDS - 1),
        ]
        return write_if(self._redis, [new], deliver) is None


class Inbox:
    """What people were told. Raises redis.RedisError when it is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def newest(self, limit: int) -> list[Message]:
        """Up to `limit` messages, newest first."""
        rows = cast(
            "list[tuple[bytes, dict[bytes, bytes]]]", self._redis.xrevrange(STREAM_KEY, count=limit)
        )
        return [msgspec.json.decode(fields[FIELD], type=Message) for _, fields in rows]
