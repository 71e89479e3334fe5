"""Due times of retrainings, in world time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.job import KEY, Job, key_by_hand
from pipelines.training.schedule import scheduled_job, state

NOW = datetime(2018, 6, 24, tzinfo=UTC)
WEEK = timedelta(days=7)


def test_nothing_remembered_begins_to_count() -> None:
    assert state(None, NOW, WEEK) == "begin"


def test_a_memory_of_another_worlds_future_begins_to_count_anew() -> None:
    assert state(NOW + timedelta(seconds=1), NOW, WEEK) == "begin"


@pytest.mark.parametrize(
    ("days", "expected"), [(0, "waiting"), (6.99, "waiting"), (7, "due"), (70, "due")]
)
def test_due_after_the_specs_schedule(days: float, expected: str) -> None:
    assert state(NOW - timedelta(days=days), NOW, WEEK) == expected


@given(missed=st.integers(1, 50), steps=st.integers(1, 20))
def test_however_much_was_missed_one_retraining_makes_up_for_it(missed: int, steps: int) -> None:
    last, begun = NOW - missed * WEEK, 0
    for step in range(steps):
        now = NOW + step * timedelta(hours=1)
        if state(last, now, WEEK) == "due":
            last, begun = now, begun + 1
    assert begun == 1


def test_the_same_due_time_is_the_same_job() -> None:
    assert scheduled_job("m", NOW, "7d", "ab12") == scheduled_job("m", NOW, "7d", "ab12")
    assert scheduled_job("m", NOW, "7d", "ab12").key == "scheduled-2018-06-24T000000-ab12"


def test_a_job_by_hand_is_another_one_when_the_spec_or_the_champion_was_changed() -> None:
    key = key_by_hand(NOW, b"gate: ...", "1")
    assert key == key_by_hand(NOW, b"gate: ...", "1")
    others = {
        key_by_hand(NOW + timedelta(seconds=1), b"gate: ...", "1"),
        key_by_hand(NOW, b"gate: ....", "1"),
        key_by_hand(NOW, b"gate: ...", "2"),
        key_by_hand(NOW, b"gate: ...", None),
        key_by_hand(NOW, b"gate: ...", "1", "dry-run"),
    }
    assert len(others | {key}) == 6
    assert all(KEY.fullmatch(one) for one in others)


@pytest.mark.parametrize("key", ["", ".hidden", "../up", "a/b", "it's", "a b", "x" * 201])
def test_a_key_that_is_no_directory_or_breaks_a_query_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key: expected letters"):
        Job(model="m", key=key, as_of=NOW, reason="", who="")


def test_a_job_is_of_a_moment_not_of_somebodys_clock() -> None:
    with pytest.raises(ValueError, match="as_of: expected a time with its zone"):
        Job(model="m", key="k", as_of=datetime(2018, 6, 24), reason="", who="")  # noqa: DTZ001
