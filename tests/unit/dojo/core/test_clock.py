"""World time is linear and continuous, and goes on without Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.connections import connect_redis
from dojo.core.state.clock import Anchor, ClockNotSetError, ManualClock, RedisWorldClock
from tests.support.servers import free_port

WORLD = datetime(2018, 6, 10, tzinfo=UTC)
WALL = datetime(2026, 11, 20, 12, tzinfo=UTC)

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
def test_a_new_anchor_at_the_old_ones_time_makes_no_jump(old: float, new: float, after: timedelta) -> None:
    change = WALL + after
    before = Anchor(WORLD, WALL, old)
    assert Anchor(before.world_at(change), change, new).world_at(change) == before.world_at(change)


def unreachable_clock() -> RedisWorldClock:
    return RedisWorldClock(connect_redis(f"redis://127.0.0.1:{free_port()}/0", timedelta(milliseconds=200)))


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
