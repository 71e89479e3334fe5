"""World time is linear and continuous, and goes on without Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.connections import connect_redis
from dojo.core.state.clock import Anchor, ClockNotSetError, ManualClock, RedisWorldClock
from tests.support.machine import Machine
from tests.support.servers import free_port

WORLD = datetime(2018, 6, 10, tzinfo=UTC)
WALL = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def machine() -> Machine:
    return Machine()


speeds = st.floats(0, 86_400)
moments = st.timedeltas(timedelta(0), timedelta(days=30))


def test_world_time_runs_at_its_speed() -> None:
    anchor = Anchor(WORLD, WALL, speed=3600)
    assert anchor.world_at(WALL) == WORLD
    assert anchor.world_at(WALL + timedelta(seconds=24)) == WORLD + timedelta(days=1)


@given(moments, moments)
def test_a_paused_world_stands_still(earlier: timedelta, later: timedelta) -> None:
    anchor = Anchor(WORLD, WALL, speed=0)
    assert anchor.world_at(WALL + earlier) == anchor.world_at(WALL + later) == WORLD


@given(speeds, moments, moments)
def test_world_time_never_runs_backwards(speed: float, one: timedelta, other: timedelta) -> None:
    anchor = Anchor(WORLD, WALL, speed)
    earlier, later = sorted((one, other))
    assert anchor.world_at(WALL + earlier) <= anchor.world_at(WALL + later)


@given(speeds, speeds, moments)
def test_a_new_anchor_at_the_old_ones_time_makes_no_jump(
    old: float, new: float, after: timedelta
) -> None:
    change = WALL + after
    before = Anchor(WORLD, WALL, old)
    assert Anchor(before.world_at(change), change, new).world_at(change) == before.world_at(change)


def unreachable_clock() -> RedisWorldClock:
    return RedisWorldClock(
        connect_redis(f"redis://127.0.0.1:{free_port()}/0", timedelta(milliseconds=200))
    )


def test_a_clock_that_never_saw_an_anchor_says_what_to_do() -> None:
    with pytest.raises(ClockNotSetError, match="dojo data history"):
        unreachable_clock().now()


@pytest.mark.parametrize("speed", [-1, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be a number >= 0"):
        unreachable_clock().set(WORLD, speed)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="timezone-aware"):
        unreachable_clock().set(WORLD.replace(tzinfo=None), 1)


def test_a_manual_clock_moves_only_forward_and_only_by_hand() -> None:
    clock = ManualClock(WORLD)
    assert clock.now() == clock.now() == WORLD
    assert clock.advance(timedelta(hours=1)) == clock.now() == WORLD + timedelta(hours=1)
    with pytest.raises(ValueError, match="never runs backwards"):
        clock.advance(timedelta(seconds=-1))


# Between looks at the anchor


def anchored(
    machine: Machine, world: datetime = WORLD, speed: float = 60, origin: str = "one"
) -> Anchor:
    return Anchor(world, machine.wall, speed, runs_on=5, origin=origin)


def test_an_anchor_that_is_not_renewed_stops_the_world(machine: Machine) -> None:
    """40 minutes without a simulator were 40 world hours."""
    reader = machine.process()
    reader.see(anchored(machine))
    machine.passes(4)
    assert reader.now() == WORLD + timedelta(minutes=4)
    machine.passes(40 * 60)
    assert reader.now() == WORLD + timedelta(minutes=5)


def test_a_process_that_starts_after_the_gap_finds_the_world_where_it_stopped(
    machine: Machine,
) -> None:
    anchor = anchored(machine)
    machine.passes(15 * 3600)
    reader = machine.process()
    reader.see(anchor)
    assert reader.now() == WORLD + timedelta(minutes=5)
    machine.passes(3600)
    assert reader.now() == WORLD + timedelta(minutes=5)


@pytest.mark.parametrize("seconds", [15 * 3600.0, 3600.0, -3600.0, -15 * 3600.0])
def test_a_machine_that_slept_or_was_set_moves_no_worlds_time(
    machine: Machine, seconds: float
) -> None:
    reader = machine.process()
    reader.see(anchored(machine))
    machine.passes(1)
    machine.sleeps(seconds)
    machine.passes(1)
    assert reader.now() == WORLD + timedelta(minutes=2)


def test_a_clock_set_forward_before_a_look_costs_no_more_than_the_time_since_the_look_before(
    machine: Machine,
) -> None:
    reader = machine.process()
    reader.see(anchored(machine))
    machine.passes(0.5)
    renewed = anchored(machine, WORLD + timedelta(seconds=30))
    machine.sleeps(3600)
    machine.passes(0.5)
    reader.see(renewed)
    assert reader.now() == WORLD + timedelta(seconds=30 + 60)


def test_within_an_origin_a_reader_does_not_go_back_and_another_origin_is_another_world(
    machine: Machine,
) -> None:
    reader = machine.process()
    reader.see(anchored(machine))
    machine.passes(3)
    assert reader.now() == WORLD + timedelta(minutes=3)
    reader.see(anchored(machine, WORLD + timedelta(minutes=2)))
    assert reader.now() == WORLD + timedelta(minutes=3)
    machine.passes(2)
    assert reader.now() == WORLD + timedelta(minutes=4)
    reader.see(anchored(machine, WORLD - timedelta(days=9), origin="two"))
    assert reader.now() == WORLD - timedelta(days=9)


def test_the_wall_time_that_was_not_lived_is_known_and_a_negative_one_is_a_clock_set_back(
    machine: Machine,
) -> None:
    simulator = machine.process()
    simulator.see(anchored(machine))
    machine.passes(2)
    assert simulator.unlived(machine.wall) == timedelta(0)
    machine.passes(2400 - 2)
    assert simulator.unlived(machine.wall) == timedelta(seconds=2400 - 5)
    simulator.see(simulator.renewed())
    machine.sleeps(-3600)
    machine.passes(0.5)
    assert simulator.unlived(machine.wall) == timedelta(hours=-1)
    restarted = machine.process()
    restarted.see(simulator.anchor)  # type: ignore[arg-type]
    assert restarted.unlived(machine.wall) == timedelta(seconds=0.5 - 3600), (
        "in the next process too"
    )


MOVES = st.tuples(
    st.sampled_from(["passes", "sleeps", "renews", "looks"]), st.floats(-100_000, 100_000)
)


@given(st.floats(0, 86_400), st.lists(MOVES, max_size=40))
def test_whatever_the_machines_clock_does_no_reader_goes_back_or_beyond_what_was_lived(
    speed: float, moves: list[tuple[str, float]]
) -> None:
    machine = Machine()
    simulator, reader = machine.process(), machine.process()
    simulator.see(anchored(machine, speed=speed))
    reader.see(simulator.renewed())
    lived, latest = 0.0, WORLD
    for move, seconds in moves:
        if move == "passes":
            machine.passes(abs(seconds))
            lived += abs(seconds)
        elif move == "sleeps":
            machine.sleeps(seconds)
        elif move == "renews":
            simulator.see(simulator.renewed())
        else:
            assert simulator.anchor is not None
            reader.see(simulator.anchor)
        told = reader.now()
        assert latest <= told
        latest = told
    # Beyond the simulator by the age of one anchor, which a clock that was set makes wrong.
    assert latest <= WORLD + (timedelta(seconds=lived + 5)) * speed + timedelta(seconds=1)
