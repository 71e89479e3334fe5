"""Messages to people on a real Redis: told once, and never half."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from redis.exceptions import ResponseError

from dojo.core.connections import connect_redis
from dojo.core.state.inbox import IDS_KEY, STREAM_KEY, Inbox, Message
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)


def message(message_id: str) -> Message:
    return Message(
        message_id=message_id,
        urgency="page",
        to="payments-risk",
        model="fraud_detection",
        title="version 2 was rolled back",
        text="40 % of its answers failed, the champion's 0.5 %. Nothing to do now: version 1 answers.",
        source="rollout",
        world_time=NOON,
        wall_time=NOON,
    )


def test_an_occasion_is_told_once_and_the_newest_first(redis_server: RedisServer) -> None:
    redis = connect_redis(redis_server.url)
    inbox = Inbox(redis)
    assert [inbox.send(message(name)) for name in ("a", "b", "a", "c", "b")] == [True, True, False, True, False]
    assert inbox.newest(10) == [message("c"), message("b"), message("a")]
    assert inbox.newest(1) == [message("c")]
    assert redis.zcard(IDS_KEY) == redis.xlen(STREAM_KEY) == 3


def test_delivery_is_one_write(redis_server: RedisServer) -> None:
    """A message whose stream cannot be written leaves no id behind that would keep it from being told later."""
    redis = connect_redis(redis_server.url)
    redis.set(STREAM_KEY, "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        Inbox(redis).send(message("a"))
    redis.delete(STREAM_KEY)
    with redis.monitor() as commands:
        assert Inbox(redis).send(message("a"))
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


def test_old_ids_are_forgotten_so_that_memory_is_bounded(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dojo.core.state.inbox.KEPT_IDS", 3)
    redis = connect_redis(redis_server.url)
    redis.zadd(IDS_KEY, {"old-1": 1, "old-2": 2, "old-3": 3})
    inbox = Inbox(redis)
    assert inbox.send(message("new"))
    assert redis.zrange(IDS_KEY, 0, -1) == [b"old-2", b"old-3", b"new"]
    assert not inbox.send(message("new"))
    assert [msgspec.to_builtins(one)["message_id"] for one in inbox.newest(9)] == ["new"]
