from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.stack.supervisor import lifecycle
from dojo.stack.supervisor.lifecycle import (
    FORGIVEN_AFTER_SECONDS,
    LONGEST_DELAY_SECONDS,
    Life,
    Patience,
    ProcessState,
)

PATIENCE = Patience(starting=90, unhealthy=30)


def healthy_since(now: float, deaths: int = 0) -> Life:
    return Life(state=ProcessState.HEALTHY, since=now, deaths=deaths, ever_healthy=True)


def test_the_delay_doubles_from_one_second_to_thirty() -> None:
    assert [lifecycle.delay(deaths) for deaths in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


@given(st.integers(min_value=1, max_value=10**9))
def test_the_delay_is_bounded_however_long_a_crash_loop_goes_on(deaths: int) -> None:
    assert 1 <= lifecycle.delay(deaths) <= LONGEST_DELAY_SECONDS


def test_a_new_process_is_due_at_once_and_a_dead_one_after_its_delay() -> None:
    assert lifecycle.is_due(Life(), now=0)
    dead = lifecycle.died(lifecycle.died(Life(state=ProcessState.STARTING), now=5), now=10)
    assert not lifecycle.is_due(dead, now=11.9)
    assert lifecycle.is_due(dead, now=12)


@pytest.mark.parametrize(
    "state",
    [ProcessState.STARTING, ProcessState.HEALTHY, ProcessState.UNHEALTHY, ProcessState.STOPPED],
)
def test_what_runs_or_was_stopped_is_never_due(state: ProcessState) -> None:
    assert not lifecycle.is_due(Life(state=state), now=1e6)


def test_only_starts_after_a_death_count_as_restarts() -> None:
    first = lifecycle.started(Life(), now=0)
    assert first.restarts == 0
    assert lifecycle.started(lifecycle.died(first, now=1), now=2).restarts == 1


def test_a_minute_of_health_forgives_earlier_deaths() -> None:
    life = healthy_since(100, deaths=5)
    assert lifecycle.died(life, now=100 + FORGIVEN_AFTER_SECONDS).deaths == 1
    assert lifecycle.died(life, now=99 + FORGIVEN_AFTER_SECONDS).deaths == 6


def test_health_that_came_and_went_forgives_nothing() -> None:
    life = lifecycle.observed(healthy_since(0, deaths=3), healthy=False, excused=False, now=30)
    life = lifecycle.observed(life, healthy=True, excused=False, now=40)
    assert lifecycle.died(life, now=70).deaths == 4


def test_a_first_failed_check_makes_a_healthy_process_unhealthy_and_the_next_good_one_healthy() -> (
    None
):
    failing = lifecycle.observed(healthy_since(0), healthy=False, excused=False, now=7)
    assert (failing.state, failing.since) == (ProcessState.UNHEALTHY, 7)
    assert (
        lifecycle.observed(failing, healthy=True, excused=False, now=8).state
        is ProcessState.HEALTHY
    )


def test_a_starting_process_stays_starting_until_its_first_good_check() -> None:
    starting = lifecycle.started(Life(), now=0)
    assert lifecycle.observed(starting, healthy=False, excused=False, now=3) == starting
    assert lifecycle.observed(starting, healthy=True, excused=False, now=3).ever_healthy


def test_what_fails_its_checks_for_longer_than_patience_hangs() -> None:
    failing = lifecycle.observed(healthy_since(0), healthy=False, excused=False, now=10)
    assert not lifecycle.is_hanging(failing, PATIENCE, now=40)
    assert lifecycle.is_hanging(failing, PATIENCE, now=40.1)
    assert not lifecycle.is_hanging(lifecycle.started(Life(), now=0), PATIENCE, now=90)
    assert lifecycle.is_hanging(lifecycle.started(Life(), now=0), PATIENCE, now=90.1)


def test_patience_starts_anew_when_what_a_process_depends_on_comes_back() -> None:
    failing = lifecycle.observed(healthy_since(0), healthy=False, excused=False, now=10)
    for now in range(11, 1000):  # Redis is away for a quarter of an hour
        failing = lifecycle.observed(failing, healthy=False, excused=True, now=now)
        assert not lifecycle.is_hanging(failing, PATIENCE, now)
    assert not lifecycle.is_hanging(failing, PATIENCE, now=1029)
    assert lifecycle.is_hanging(failing, PATIENCE, now=1029.5)


def test_a_healthy_process_never_hangs() -> None:
    assert not lifecycle.is_hanging(healthy_since(0), PATIENCE, now=1e9)
