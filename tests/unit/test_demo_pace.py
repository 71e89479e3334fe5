from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dojo.demo.pace import Pace
from dojo.freshness import ViewFreshness

NOW = datetime(2025, 1, 6, tzinfo=UTC)


def views(**ages: float) -> dict[str, ViewFreshness]:
    """Ages in shares of an SLA of an hour."""
    return {name: ViewFreshness(NOW - timedelta(hours=age), 3600) for name, age in ages.items()}


def test_late_features_halve_the_speed_step_by_step_down_to_an_eighth() -> None:
    pace = Pace(wished=2400)
    speeds = [pace.after(views(activity=0.1, daily=1.2), NOW, 100 + seconds) for seconds in range(30)]
    assert speeds[:5] == [1200, 1200, 600, 600, 300]
    assert speeds[-1] == 300


def test_fresh_again_it_returns_slowly_to_what_was_wished_and_never_beyond() -> None:
    pace = Pace(wished=2400)
    pace.after(views(activity=2), NOW, 100)
    speeds = [pace.after(views(activity=0.3), NOW, 100 + seconds) for seconds in range(30)]
    assert speeds[5:7] == [1200, 1800]
    assert speeds[-1] == 2400


def test_ordinary_ages_change_nothing() -> None:
    """Daily views before their run are old, not late; nothing known is no reason either."""
    pace = Pace(wished=2400)
    assert pace.after(views(daily=0.79), NOW, 100) == 2400
    assert pace.after({}, NOW, 110) == 2400
    slowed = Pace(wished=2400, changed=0)
    slowed.after(views(daily=0.9), NOW, 100)
    assert slowed.after(views(daily=0.75), NOW, 200) == 1200, "neither late nor fresh"


def test_a_world_that_stands_still_stays_so() -> None:
    assert Pace(wished=0).after(views(daily=2), NOW, 100) == 0
