"""The clock keeper tells people of time that was not lived.

It also tells them of a machine's clock that was set back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from redis.exceptions import RedisError

from dojo.core.connections import connect_redis
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import STREAM_KEY, Inbox, Message, Notifier
from services.simulator.clock_keeper import ClockKeeper
from tests.support.machine import Machine
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

WORLD = datetime(2025, 1, 6, 12, tzinfo=UTC)
RUNS_ON = timedelta(seconds=5)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def redis(redis_server: RedisServer) -> Redis:
    return connect_redis(redis_server.url, timedelta(seconds=1))


def keeper_on(machine: Machine, redis: Redis) -> ClockKeeper:
    clock = RedisWorldClock(redis, timedelta(0), machine.process())
    return ClockKeeper(clock, Notifier(redis, "simulator"), RUNS_ON, lambda: machine.seconds)


def running(machine: Machine, redis: Redis, speed: float = 60) -> ClockKeeper:
    RedisWorldClock(redis, timedelta(0), machine.process()).set(WORLD, speed, RUNS_ON)
    keeper = keeper_on(machine, redis)
    keeper.keep(WORLD)
    return keeper


def messages(redis: Redis) -> list[Message]:
    return Inbox(redis).newest(10)


def test_a_world_that_lives_is_no_news(machine: Machine, redis: Redis) -> None:
    keeper = running(machine, redis)
    for _ in range(30):
        machine.passes(4)  # a busy machine
        keeper.keep(WORLD)
    assert messages(redis) == []
    assert keeper.told == ""
    assert RedisWorldClock(redis, timedelta(0), machine.process()).now() == WORLD + timedelta(
        minutes=120
    )


def test_a_stack_that_was_stopped_is_told_once(machine: Machine, redis: Redis) -> None:
    running(machine, redis)
    machine.passes(2405)
    keeper = keeper_on(machine, redis)
    keeper.keep(WORLD)
    machine.passes(1)
    keeper.keep(WORLD)
    (message,) = messages(redis)
    assert message.title == "the world stood still for 40m of wall time"
    assert message.urgency == "info"
    assert message.world_time == WORLD + timedelta(minutes=5)
    assert "It goes on at 2025-01-06 12:05 of world time, where it stopped." in message.text
    assert keeper.told == message.title


def test_a_machine_that_slept_is_told(machine: Machine, redis: Redis) -> None:
    keeper = running(machine, redis)
    machine.sleeps(15 * 3600)
    machine.passes(1)
    keeper.keep(WORLD)
    (message,) = messages(redis)
    assert message.title == "the world stood still for 15h of wall time"
    assert message.world_time == WORLD + timedelta(minutes=1)


def test_a_clock_that_was_set_back_is_a_warning(machine: Machine, redis: Redis) -> None:
    keeper = running(machine, redis)
    machine.sleeps(-3600)
    machine.passes(1)
    keeper.keep(WORLD)
    (message,) = messages(redis)
    assert (message.title, message.urgency) == ("the machine's clock was set back by 1h", "warning")
    assert message.world_time == WORLD + timedelta(minutes=1)


def test_a_paused_world_that_stands_still_is_no_news_and_a_clock_set_back_is(
    machine: Machine, redis: Redis
) -> None:
    keeper = running(machine, redis, speed=0)
    machine.passes(3600)
    keeper.keep(WORLD)
    assert messages(redis) == []
    machine.sleeps(-60)
    machine.passes(1)
    keeper.keep(WORLD)
    assert [message.title for message in messages(redis)] == [
        "the machine's clock was set back by 1m"
    ]


def test_what_the_inbox_did_not_take_is_told_later(machine: Machine, redis: Redis) -> None:
    keeper = running(machine, redis)
    machine.passes(60)
    redis.set(STREAM_KEY, "not a stream")
    with pytest.raises(RedisError):
        keeper.keep(WORLD)
    redis.delete(STREAM_KEY)
    machine.passes(1)
    keeper.keep(WORLD)
    assert [message.title for message in messages(redis)] == [
        "the world stood still for 55s of wall time"
    ]


def test_it_knows_when_nothing_was_lived_for_too_long(machine: Machine, redis: Redis) -> None:
    keeper = running(machine, redis)
    machine.passes(5)
    assert not keeper.stands_still()
    machine.passes(1)
    assert keeper.stands_still()
    keeper.keep(WORLD)
    assert not keeper.stands_still()
