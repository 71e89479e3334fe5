"""The event log on a real Redis: every group gets every message, even if a reader dies."""

from __future__ import annotations

from datetime import timedelta

import pytest
import structlog
from redis.exceptions import RedisError

from dojo.core.connections import connect_redis
from dojo.core.events.log import PAGE, PAYLOAD_FIELD, RedisEventLog, stream_key
from dojo.core.events.streams import decode
from dojo.core.events.types import Event, Stream
from dojo.core.settings import Settings
from dojo.core.state.clock import wall_now
from dojo.shop.events import TRANSACTIONS, Transaction
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

TX = TRANSACTIONS
NO_WAIT = timedelta(milliseconds=1)
NOW = timedelta(0)


def transactions(count: int, first: int = 0) -> list[Event]:
    now = wall_now()
    return [
        Transaction(
            event_id=f"tx-{n}",
            world_time=now,
            wall_time=now,
            transaction_id=str(n),
            customer_id="c",
            merchant_id="m",
            amount=n,
        )
        for n in range(first, first + count)
    ]


def log_at(redis: RedisServer, max_length: int = 100_000) -> RedisEventLog:
    return RedisEventLog(connect_redis(redis.url), max_length)


def ids(log: RedisEventLog, group: str, consumer: str, limit: int = 100) -> list[str]:
    """Read and acknowledge."""
    deliveries = log.read(TX, group, consumer, limit, NO_WAIT)
    log.acknowledge(TX, group, [d.message_id for d in deliveries])
    return [decode(TX, d.payload).event_id for d in deliveries]


def test_each_group_sees_every_message_once_and_in_order(redis_server: RedisServer) -> None:
    log = log_at(redis_server)
    log.append(transactions(5))
    assert ids(log, "one", "a", limit=3) == ["tx-0", "tx-1", "tx-2"]
    assert ids(log, "one", "b") == ["tx-3", "tx-4"], "consumers of a group share its messages"
    assert ids(log, "other", "a") == [f"tx-{n}" for n in range(5)], (
        "a group made later sees the past too"
    )
    assert ids(log, "one", "a") == []


def test_events_of_several_streams_append_in_one_call_each_to_its_own(
    redis_server: RedisServer,
) -> None:
    log = log_at(redis_server)
    log.append(transactions(2))
    log.append([])
    assert not log.read(Stream.OUTCOMES, "g", "c", 10, NO_WAIT)
    assert len(log.read(TX, "g", "c", 10, NO_WAIT)) == 2


def test_a_reader_waits_for_the_first_message(redis_server: RedisServer) -> None:
    started = wall_now()
    assert not log_at(redis_server).read(TX, "g", "c", 10, timedelta(milliseconds=300))
    assert wall_now() - started >= timedelta(milliseconds=290)


def test_what_a_dead_consumer_left_is_taken_over_and_nothing_else(
    redis_server: RedisServer,
) -> None:
    log = log_at(redis_server)
    log.append(transactions(6))
    left = log.read(TX, "g", "dead", 4, NO_WAIT)
    log.acknowledge(TX, "g", [left[0].message_id])
    successor = log_at(redis_server)
    assert successor.reclaim(TX, "g", "alive", 10, timedelta(minutes=1)) == [], (
        "it may still be alive"
    )
    assert successor.reclaim(TX, "g", "alive", 2, NOW) == left[1:3]
    successor.acknowledge(TX, "g", [d.message_id for d in left[1:3]])
    assert successor.reclaim(TX, "g", "alive", 10, NOW) == left[3:]
    successor.acknowledge(TX, "g", [left[3].message_id])
    assert successor.reclaim(TX, "g", "alive", 10, NOW) == []
    assert ids(successor, "g", "alive") == ["tx-4", "tx-5"]


def test_messages_trimmed_while_pending_do_not_hide_the_others(redis_server: RedisServer) -> None:
    log, redis = log_at(redis_server), connect_redis(redis_server.url)
    log.append(transactions(300))
    log.read(TX, "g", "dead", 300, NO_WAIT)
    redis.xtrim(stream_key(TX), maxlen=50, approximate=False)
    middle = redis.xrange(stream_key(TX))[10][0]
    redis.xdel(stream_key(TX), middle)
    with structlog.testing.capture_logs() as logs:
        reclaimed = log.reclaim(TX, "g", "alive", 20, NOW)
    assert sum(line["messages"] for line in logs) == 251, "what is lost is said"
    assert len(reclaimed) == 20
    assert decode(TX, reclaimed[0].payload).event_id == "tx-250"
    assert log.lag(TX, "g") == 49


def test_the_streams_length_is_bounded(redis_server: RedisServer) -> None:
    log, redis = log_at(redis_server, max_length=1000), connect_redis(redis_server.url)
    for first in range(0, 5000, 500):
        log.append(transactions(500, first))
    assert 1000 <= redis.xlen(stream_key(TX)) <= 1200, "trimmed by whole nodes of 100"
    newest = redis.xrevrange(stream_key(TX), count=1)[0][1][PAYLOAD_FIELD]
    assert decode(TX, newest).event_id == "tx-4999"


def test_lag_counts_what_is_unread_and_what_is_unacknowledged(redis_server: RedisServer) -> None:
    log = log_at(redis_server)
    assert log.lag(TX, "g") == 0
    log.append(transactions(2500))  # more than one page of the count
    assert log.lag(TX, "g") == 2500
    read = log.read(TX, "g", "c", 1000, NO_WAIT)
    assert log.lag(TX, "g") == 2500
    log.acknowledge(TX, "g", [d.message_id for d in read])
    assert log.lag(TX, "g") == 1500
    assert ids(log, "g", "c", 1500)
    assert log.lag(TX, "g") == 0


def test_lag_is_counted_as_far_as_the_log_keeps_messages(redis_server: RedisServer) -> None:
    """The alert EventLogLag is critical from half of the log's limit on.

    A count that ends before could never raise it.
    """
    kept = Settings.model_fields["stream_max_length"].default
    redis, behind = connect_redis(redis_server.url), int(0.6 * kept)
    with redis.pipeline(transaction=False) as pipe:
        for _ in range(behind):
            pipe.xadd(stream_key(TX), {PAYLOAD_FIELD: b"x"})
        pipe.execute()
    assert log_at(redis_server, kept).lag(TX, "g") == behind
    assert log_at(redis_server, 4 * PAGE).lag(TX, "g") == 4 * PAGE, "and no further"


def test_groups_are_made_anew_when_redis_comes_back_empty(redis_server: RedisServer) -> None:
    log = log_at(redis_server)
    log.append(transactions(3))
    assert len(ids(log, "g", "c")) == 3
    connect_redis(redis_server.url).flushall()
    assert log.lag(TX, "g") == 0
    connect_redis(redis_server.url).flushall()
    assert log.reclaim(TX, "g", "c", 10, NOW) == []
    connect_redis(redis_server.url).flushall()
    log.append(transactions(2, first=7))
    assert ids(log, "g", "c") == [
        "tx-7",
        "tx-8",
    ], "what was appended before the group was back is not missed"


def test_groups_and_pending_messages_survive_a_kill_of_redis(redis_server: RedisServer) -> None:
    log = log_at(redis_server)
    log.append(transactions(10))
    pending = log.read(TX, "g", "c", 4, NO_WAIT)
    redis_server.kill()
    with pytest.raises(RedisError):
        log.append(transactions(1, first=99))
    with pytest.raises(RedisError):
        log.read(TX, "g", "c", 10, NO_WAIT)
    redis_server.start()
    assert log.reclaim(TX, "g", "c", 10, NOW) == pending
    assert ids(log, "g", "c") == [f"tx-{n}" for n in range(4, 10)]


def test_a_message_without_an_event_is_delivered_to_be_set_aside(redis_server: RedisServer) -> None:
    log, redis = log_at(redis_server), connect_redis(redis_server.url)
    redis.xadd(stream_key(TX), {"something": "else"})
    log.append(transactions(1))
    empty, good = log.read(TX, "g", "c", 10, NO_WAIT)
    assert empty.payload == b""
    assert decode(TX, good.payload).event_id == "tx-0"


def test_a_hanging_redis_costs_one_timeout(redis_server: RedisServer) -> None:
    import signal

    log = RedisEventLog(connect_redis(redis_server.url, timedelta(milliseconds=200)), 1000)
    log.append(transactions(1))
    redis_server.signal(signal.SIGSTOP)
    started = wall_now()
    with pytest.raises(RedisError):
        log.append(transactions(1, first=1))
    assert wall_now() - started < timedelta(seconds=2)
    redis_server.signal(signal.SIGCONT)
    wait_until(redis_server.answers, 5, "Redis goes on")
    assert "tx-0" in ids(log, "g", "c")


def test_a_read_larger_than_a_page_gets_everything_in_order(redis_server: RedisServer) -> None:
    log = log_at(redis_server)
    count = 2 * PAGE + 7
    log.append(transactions(count))
    assert ids(log, "g", "c", limit=10 * PAGE) == [f"tx-{n}" for n in range(count)]
    assert log.lag(TX, "g") == 0
