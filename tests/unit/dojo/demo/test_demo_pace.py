from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dojo.core.state.freshness import ViewFreshness
from dojo.demo.pace import Pace

NOW = datetime(2025, 1, 6, tzinfo=UTC)


def views(**ages: float) -> dict[str, ViewFreshness]:
    """Make views with ages in shares of an SLA of one hour."""
    return {name: ViewFreshness(NOW - timedelta(hours=age), 3600) for name, age in ages.items()}


def follow(pace: Pace, freshness: dict[str, ViewFreshness], now: float) -> float:
    """Let a viewer look once. The world follows its wish."""
    if (speed := pace.wanted(freshness, NOW, now)) != pace.speed:
        pace.set(speed, now)
    return pace.speed


def test_late_features_halve_the_speed_step_by_step_down_to_an_eighth() -> None:
    pace = Pace(wished=2400)
    speeds = [follow(pace, views(activity=0.1, daily=1.2), 100 + seconds) for seconds in range(30)]
    assert speeds[:5] == [1200, 1200, 600, 600, 300]
    assert speeds[-1] == 300


def test_fresh_again_it_returns_slowly_to_what_was_wished_and_never_beyond() -> None:
    pace = Pace(wished=2400)
    follow(pace, views(activity=2), 100)
    speeds = [follow(pace, views(activity=0.3), 100 + seconds) for seconds in range(30)]
    assert speeds[5:7] == [1200, 1800]
    assert speeds[-1] == 2400


def test_ordinary_ages_change_nothing() -> None:
    """Daily views before their run are old, not late.

    Without known ages there is no reason either.
    """
    pace = Pace(wished=2400)
    assert follow(pace, views(daily=0.79), 100) == 2400
    assert follow(pace, {}, 110) == 2400
    slowed = Pace(wished=2400, changed=0)
    follow(slowed, views(daily=0.9), 100)
    assert follow(slowed, views(daily=0.75), 200) == 1200, "neither late nor fresh"


def test_a_world_that_stands_still_stays_so() -> None:
    assert follow(Pace(wished=0), views(daily=2), 100) == 0


def test_a_world_that_did_not_obey_is_told_again() -> None:
    pace = Pace(wished=2400)
    assert [pace.wanted(views(activity=2), NOW, 100 + seconds) for seconds in range(3)] == [
        1200,
        1200,
        1200,
    ]
