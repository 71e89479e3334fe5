"""Messages to people on a real Redis: each is told once, and never half."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from dojo.core.connections import connect_redis
from dojo.core.state.clock import wall_now
from dojo.core.state.inbox import FIELD, IDS_KEY, STREAM_KEY, Inbox, Notice, Notifier
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)


def tell(redis: Redis, message_id: str) -> bool:
    text = "40 % of its answers failed, the champion's 0.5 %. Nothing to do now: version 1 answers."
    notice = Notice(message_id, "page", "version 2 was rolled back", text)
    return Notifier(redis, "rollout").tell("payments-risk", "fraud_detection", notice, NOON)


def told(redis: Redis, limit: int) -> list[str]:
    return [message.message_id for message in Inbox(redis).newest(limit)]


def test_an_occasion_is_told_once_and_the_newest_first(redis_server: RedisServer) -> None:
    redis = connect_redis(redis_server.url)
    assert [tell(redis, name) for name in ("a", "b", "a", "c", "b")] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert told(redis, 10) == ["c", "b", "a"]
    assert told(redis, 1) == ["c"]
    assert redis.zcard(IDS_KEY) == redis.xlen(STREAM_KEY) == 3


def test_a_message_says_who_is_meant_who_speaks_and_when(redis_server: RedisServer) -> None:
    redis = connect_redis(redis_server.url)
    before = wall_now()
    tell(redis, "a")
    (message,) = Inbox(redis).newest(1)
    assert (message.to, message.model, message.source) == (
        "payments-risk",
        "fraud_detection",
        "rollout",
    )
    assert (message.urgency, message.title) == ("page", "version 2 was rolled back")
    assert message.world_time == NOON
    assert before <= message.wall_time <= wall_now()


def test_a_message_of_before_is_read(redis_server: RedisServer) -> None:
    """An older release wrote the fields in another order."""
    redis = connect_redis(redis_server.url)
    fields = {
        "message_id": "a",
        "urgency": "info",
        "to": "us",
        "model": "m",
        "title": "t",
        "text": "x",
        "source": "s",
    }
    content = json.dumps({**fields, "world_time": None, "wall_time": "2030-03-01T12:00:00Z"})
    redis.xadd(STREAM_KEY, {FIELD: content})
    (message,) = Inbox(redis).newest(1)
    assert (message.to, message.text, message.wall_time) == ("us", "x", NOON)


def test_delivery_is_one_write(redis_server: RedisServer) -> None:
    """If a message's stream cannot be written, no id stays behind.

    Such an id would prevent a later message.
    """
    redis = connect_redis(redis_server.url)
    redis.set(STREAM_KEY, "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        tell(redis, "a")
    redis.delete(STREAM_KEY)
    with redis.monitor() as commands:
        assert tell(redis, "a")
        seen = []
        while not seen or not seen[-1].startswith("ZREMRANGEBYRANK"):
            seen.append(next(commands.listen())["command"].upper())
    assert [line.split()[0] for line in seen if line.split()[0] != "CLIENT"] == [
        "EVAL",
        "ZSCORE",
        "XADD",
        "ZADD",
        "ZREMRANGEBYRANK",
    ]


def test_old_ids_are_forgotten_so_that_memory_is_bounded(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dojo.core.state.inbox.KEPT_IDS", 3)
    redis = connect_redis(redis_server.url)
    redis.zadd(IDS_KEY, {"old-1": 1, "old-2": 2, "old-3": 3})
    assert tell(redis, "new")
    assert redis.zrange(IDS_KEY, 0, -1) == [b"old-2", b"old-3", b"new"]
    assert not tell(redis, "new")
    assert told(redis, 9) == ["new"]
