from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.spec.durations import format_duration, parse_duration


@given(st.timedeltas(min_value=timedelta(microseconds=1)))
def test_a_formatted_duration_reads_back_exactly(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        (" 7d ", timedelta(days=7)),
        ("0.1s", timedelta(microseconds=100_000)),
    ],
)
def test_durations_read_as_people_write_them(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


def test_the_largest_whole_unit_is_used() -> None:
    assert [format_duration(timedelta(seconds=s)) for s in (604800, 5400, 60, 1.5, 1)] == [
        "7d",
        "90m",
        "1m",
        "1500ms",
        "1s",
    ]


@pytest.mark.parametrize(
    "wrong",
    [7, 7.0, "7", "7 d", "-7d", "0s", "d", "1w", "", None, True, "1e3s", "99999999999999d", "٣d"],
)
def test_what_is_no_positive_duration_with_a_unit_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(wrong)
