"""The world clock in a real Redis: processes agree, and go on without Redis."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from dojo.core.connections import connect_redis
from dojo.core.state.clock import CLOCK_KEY, ClockNotSetError, RedisWorldClock, wall_now
from tests.support.machine import Machine
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

WORLD = datetime(2018, 6, 10, tzinfo=UTC)
REFRESH = timedelta(milliseconds=50)

# Wall time that may pass between two readings on a busy machine.
APART = timedelta(seconds=0.5)


def clock_at(redis: RedisServer, refresh: timedelta = REFRESH) -> RedisWorldClock:
    """Return a clock as another process has it, with its own connection."""
    return RedisWorldClock(connect_redis(redis.url, timedelta(milliseconds=300)), refresh)


def test_two_processes_agree_and_a_third_that_starts_later_too(redis_server: RedisServer) -> None:
    one, other = clock_at(redis_server), clock_at(redis_server)
    with pytest.raises(ClockNotSetError):
        other.now()
    one.set(WORLD, speed=3600)
    wait_until(other.is_set, 5, "the other sees the clock")
    assert one.anchor() == other.anchor() == clock_at(redis_server).anchor()
    earlier = one.now()
    assert timedelta(0) <= other.now() - earlier <= APART * 3600


def test_a_speed_change_is_seen_by_others_and_makes_no_jump(redis_server: RedisServer) -> None:
    one, other = clock_at(redis_server), clock_at(redis_server)
    one.set(WORLD, speed=10)
    assert other.speed() == 10
    before = one.now()
    one.set_speed(1000)
    assert timedelta(0) <= one.anchor().world - before <= APART * 10
    wait_until(lambda: other.speed() == 1000, 5, "the other process sees the new speed")


def test_a_change_starts_from_the_latest_change_of_anybody(redis_server: RedisServer) -> None:
    """The change starts from the latest change by any process.

    A process with an old cached anchor must not throw the world back when it changes the speed.
    """
    slow_reader = clock_at(redis_server, refresh=timedelta(hours=1))
    clock_at(redis_server).set(WORLD, speed=0)
    assert slow_reader.now() == WORLD
    clock_at(redis_server).set(WORLD + timedelta(days=3), speed=0)
    assert slow_reader.set_speed(60).world == WORLD + timedelta(days=3)


def test_of_two_who_change_the_speed_at_once_the_slower_goes_on_from_the_faster(
    redis_server: RedisServer,
) -> None:
    faster = clock_at(redis_server)
    faster.set(WORLD, speed=0)
    redis = connect_redis(redis_server.url)
    read = redis.get

    def read_and_be_overtaken(key: str) -> object:
        found = read(key)
        if faster.anchor().speed == 0:
            faster.set(WORLD + timedelta(days=3), speed=1)
        return found

    redis.get = read_and_be_overtaken  # type: ignore[assignment,method-assign]
    changed = RedisWorldClock(redis, REFRESH).set_speed(60)
    assert changed.world >= WORLD + timedelta(days=3)
    assert clock_at(redis_server).anchor() == changed


def test_a_paused_world_stands_still_and_goes_on_where_it_was(redis_server: RedisServer) -> None:
    clock = clock_at(redis_server)
    clock.set(WORLD, speed=3600)
    paused_at = clock.set_speed(0).world
    assert clock_at(redis_server).now() == paused_at
    assert timedelta(0) <= clock.set_speed(3600).world - paused_at < timedelta(microseconds=1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_world_time_goes_on_while_redis_is_dead_or_hanging(
    redis_server: RedisServer, number: signal.Signals
) -> None:
    clock = clock_at(redis_server)
    clock.set(WORLD, speed=1000)
    redis_server.signal(number)
    time.sleep(REFRESH.total_seconds())  # then the next reading asks Redis
    asked = wall_now()
    readings = [clock.now() for _ in range(20)]
    assert WORLD < readings[0] < readings[-1]
    assert wall_now() - asked < timedelta(seconds=2), (
        "a hanging Redis costs one timeout, not one per reading"
    )


def test_a_restarted_redis_still_knows_the_time(redis_server: RedisServer) -> None:
    anchor = clock_at(redis_server).set(WORLD, speed=5)
    redis_server.stop()
    redis_server.start()
    assert clock_at(redis_server).anchor() == anchor


def test_the_anchor_is_readable_json(redis_server: RedisServer) -> None:
    clock_at(redis_server).set(WORLD, speed=5)
    stored = connect_redis(redis_server.url).get(CLOCK_KEY)
    assert b'"world":"2018-06-10T00:00:00Z"' in stored


# Renewed by the simulator


HOUR = timedelta(hours=1)
RUNS_ON = timedelta(seconds=5)


def process_on(machine: Machine, redis: RedisServer) -> RedisWorldClock:
    """A clock in a process that starts now and looks at Redis at every reading."""
    return RedisWorldClock(connect_redis(redis.url), timedelta(0), machine.process())


def test_a_clock_that_was_set_back_stops_no_one_and_is_noticed(redis_server: RedisServer) -> None:
    machine = Machine()
    simulator, reader = process_on(machine, redis_server), process_on(machine, redis_server)
    simulator.set(WORLD, speed=60, runs_on=RUNS_ON)
    assert reader.now() == WORLD
    machine.passes(2)
    machine.sleeps(-3600)
    assert process_on(machine, redis_server).now() == WORLD, (
        "a new process: the world's last known time"
    )
    assert reader.now() == simulator.now() == WORLD + timedelta(minutes=2)
    assert simulator.renew(RUNS_ON, WORLD) == -HOUR
    machine.passes(3)
    assert simulator.renew(RUNS_ON, WORLD) == timedelta(0), "once"
    machine.passes(1)
    for clock in (reader, simulator, process_on(machine, redis_server)):
        assert clock.now() == WORLD + timedelta(minutes=6)


def test_after_a_night_the_world_goes_on_where_it_stopped_whoever_looks_first(
    redis_server: RedisServer,
) -> None:
    machine = Machine()
    simulator, reader = process_on(machine, redis_server), process_on(machine, redis_server)
    simulator.set(WORLD, speed=60, runs_on=RUNS_ON)
    reader.now()
    machine.passes(1)
    machine.sleeps(15 * 3600)
    assert reader.now() == WORLD + timedelta(minutes=1)
    newcomer = process_on(machine, redis_server)
    assert newcomer.now() == WORLD + timedelta(minutes=5), (
        "it cannot know that the machine slept: the bound holds"
    )
    assert newcomer.standstill() == 15 * HOUR + timedelta(seconds=1) - RUNS_ON
    assert newcomer.set_speed(60).world == WORLD + timedelta(minutes=5)
    assert newcomer.standstill() == timedelta(0)
    assert simulator.renew(RUNS_ON, WORLD) == timedelta(0)


def test_a_stopped_stack_lived_nothing_and_says_for_how_long(redis_server: RedisServer) -> None:
    machine = Machine()
    process_on(machine, redis_server).set(WORLD, speed=60, runs_on=RUNS_ON)
    machine.passes(2400)
    simulator = process_on(machine, redis_server)
    assert simulator.renew(RUNS_ON, WORLD) == timedelta(seconds=2400) - RUNS_ON
    assert simulator.now() == WORLD + timedelta(minutes=5)


def test_what_was_lived_stays_lived(redis_server: RedisServer) -> None:
    """Redis came back with an older anchor than the simulator had lived to."""
    machine = Machine()
    simulator = process_on(machine, redis_server)
    simulator.set(WORLD, speed=60, runs_on=RUNS_ON)
    simulator.renew(RUNS_ON, at_least=WORLD + HOUR)
    assert process_on(machine, redis_server).now() == WORLD + HOUR


def test_a_paused_world_is_renewed_without_moving(redis_server: RedisServer) -> None:
    machine = Machine()
    simulator = process_on(machine, redis_server)
    simulator.set(WORLD, speed=0, runs_on=RUNS_ON)
    machine.passes(3600)
    simulator.renew(RUNS_ON, at_least=WORLD + HOUR)
    assert simulator.now() == WORLD
    assert simulator.standstill() == timedelta(0)


def test_of_a_renewal_and_a_new_speed_at_once_both_hold(redis_server: RedisServer) -> None:
    machine = Machine()
    person, redis = process_on(machine, redis_server), connect_redis(redis_server.url)
    simulator = RedisWorldClock(redis, timedelta(0), machine.process())
    simulator.set(WORLD, speed=60, runs_on=RUNS_ON)
    read = redis.get

    def read_and_be_overtaken(key: str) -> object:
        found = read(key)
        if person.speed() == 60:
            person.set_speed(0)
        return found

    redis.get = read_and_be_overtaken  # type: ignore[assignment,method-assign]
    simulator.renew(RUNS_ON, WORLD)
    assert person.speed() == 0


def test_an_anchor_that_redis_lost_is_written_again(redis_server: RedisServer) -> None:
    machine = Machine()
    simulator, reader = process_on(machine, redis_server), process_on(machine, redis_server)
    simulator.set(WORLD, speed=60, runs_on=RUNS_ON)
    connect_redis(redis_server.url).flushall()
    machine.passes(1)
    assert not reader.is_set()
    simulator.renew(RUNS_ON, WORLD)
    assert reader.now() == WORLD + timedelta(minutes=1)


def test_an_anchor_of_an_earlier_version_is_understood(redis_server: RedisServer) -> None:
    stored = b'{"world":"2018-06-10T00:00:00Z","wall":"2026-11-28T12:00:00Z","speed":60.0}'
    connect_redis(redis_server.url).set(CLOCK_KEY, stored)
    assert process_on(Machine(), redis_server).now() == WORLD
