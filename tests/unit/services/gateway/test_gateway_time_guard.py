"""Which callers may say when something happens.

Near the world's now it is every caller. Otherwise it is only a caller with the time key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dojo.core.state.clock import Anchor, wall_now
from services.gateway.clock import GatewayClock
from services.gateway.features.redis_client import RedisClient
from services.gateway.messages.problems import Problem
from services.gateway.time_guard import TimeGuard

NOW = datetime(2025, 1, 6, 12, tzinfo=UTC)
TOLERANCE = timedelta(seconds=300)
KEY = "0123456789abcdef"


@pytest.fixture
def clock(tmp_path: Any) -> GatewayClock:
    made = GatewayClock(RedisClient("redis://127.0.0.1:1/0"), tmp_path / "clock.json")
    made._reckoning.see(Anchor(NOW, wall_now(), 0.0))
    return made


def faults(clock: GatewayClock, *times: datetime | None, header: str | None = None) -> list[Any]:
    guard = TimeGuard(clock, TOLERANCE, KEY)
    instances = cast("Any", [SimpleNamespace(checkout_time=time) for time in times])
    headers = [(b"host", b"here"), *([(b"authorization", header.encode())] if header else [])]
    try:
        guard.check("checkout_time", instances, headers)
    except Problem as problem:
        return list(problem.errors)
    return []


@pytest.mark.parametrize(
    ("away", "accepted"),
    [
        (timedelta(0), True),
        (TOLERANCE, True),
        (-TOLERANCE, True),
        (TOLERANCE + timedelta(seconds=1), False),
        (-TOLERANCE - timedelta(seconds=1), False),
        (timedelta(hours=1), False),
        (timedelta(days=-7), False),
        (timedelta(days=365), False),
    ],
)
def test_a_time_is_taken_near_the_worlds_now_only(
    clock: GatewayClock, away: timedelta, accepted: bool
) -> None:
    assert (faults(clock, NOW + away) == []) is accepted


@pytest.mark.parametrize(
    "time", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
@pytest.mark.parametrize("hours", [-14, 0, 14])
def test_the_ends_of_the_calendar_are_refused_in_every_zone(
    clock: GatewayClock, time: datetime, hours: int
) -> None:
    elsewhere = time.replace(
        tzinfo=datetime.fromisoformat(f"2025-01-01T00:00:00{hours:+03d}:00").tzinfo
    )
    assert len(faults(clock, elsewhere)) == 1


def test_the_zone_is_minded(clock: GatewayClock) -> None:
    assert faults(clock, datetime.fromisoformat("2025-01-06T14:00:00+02:00")) == []
    assert len(faults(clock, datetime.fromisoformat("2025-01-06T12:00:00+02:00"))) == 1


def test_a_batch_is_refused_with_each_wrong_row_the_worlds_now_and_the_tolerance(
    clock: GatewayClock,
) -> None:
    found = faults(clock, None, NOW + timedelta(hours=1), NOW, NOW - timedelta(days=1))
    assert [error.field for error in found] == [
        "instances[1].checkout_time",
        "instances[3].checkout_time",
    ]
    assert found[0].found == "2025-01-06T13:00:00Z"
    for said in ("300 s of world time", "2025-01-06T12:00:00Z", "leave it out", "DOJO_TIME_KEY"):
        assert said in found[0].expected


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (f"Bearer {KEY}", True),
        (f"bearer {KEY}", True),
        (f"Bearer {KEY}0", False),
        (f"Bearer {KEY[:-1]}", False),
        ("Bearer ", False),
        (f"Basic {KEY}", False),
        (KEY, False),
    ],
)
def test_any_time_is_taken_from_who_has_the_key(
    clock: GatewayClock, header: str, accepted: bool
) -> None:
    assert (faults(clock, NOW - timedelta(days=400), header=header) == []) is accepted


def test_without_a_world_clock_no_time_is_judged(tmp_path: Any) -> None:
    """The answer names it: world_clock_unset."""
    unset = GatewayClock(RedisClient("redis://127.0.0.1:1/0"), tmp_path / "none.json")
    assert faults(unset, NOW + timedelta(days=4000)) == []
