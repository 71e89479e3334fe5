"""The row compared with a served value. A short delay is not skew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.features.skew_rows import ALLOWED_LATENESS, agrees, row_to_compare

T = datetime(2030, 1, 1, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
US = timedelta(microseconds=1)
VISIBLE = [T, T + HOUR, T + 2 * HOUR]


def compared(
    paid: datetime,
    served: datetime | None,
    asked: datetime | None = None,
    batch: bool = False,
    allowed: timedelta = HOUR,
) -> tuple[int | None, timedelta | None]:
    return row_to_compare(VISIBLE, paid, asked or paid, served, allowed, batch)


@pytest.mark.parametrize("off", [timedelta(0), US, -US, 5 * US])
def test_the_same_row_is_the_same_whatever_its_clock_lost(off: timedelta) -> None:
    assert compared(T + 90 * MINUTE, VISIBLE[1] + off) == (1, None)


def test_a_row_before_the_newest_is_compared_as_it_was_and_late() -> None:
    assert compared(T + 2 * HOUR + 59 * MINUTE, VISIBLE[1]) == (1, 59 * MINUTE)
    assert compared(T + 5 * HOUR, VISIBLE[1]) == (1, 3 * HOUR)


def test_lateness_counts_from_the_first_row_that_was_missed() -> None:
    assert compared(T + 2 * HOUR + MINUTE, VISIBLE[0]) == (0, 61 * MINUTE)


def test_no_row_served_is_late_at_first_and_missing_then() -> None:
    assert compared(T + 30 * MINUTE, None) == (None, 30 * MINUTE)
    assert compared(T + 61 * MINUTE, None) == (1, None)
    assert compared(T - HOUR, None) == (None, None)


def test_a_streaming_row_from_after_the_payment_is_a_look_into_the_future() -> None:
    assert compared(T + 59 * MINUTE, VISIBLE[1], asked=T + 61 * MINUTE) == (0, None)


def test_a_batch_row_that_was_published_while_the_answer_was_under_way_is_not() -> None:
    assert compared(T + 59 * MINUTE, VISIBLE[1], asked=T + 61 * MINUTE, batch=True) == (
        1,
        timedelta(0),
    )
    assert compared(T + 59 * MINUTE, VISIBLE[2], asked=T + 61 * MINUTE, batch=True) == (0, None)


def test_a_row_that_never_was_is_held_against_the_newest() -> None:
    assert compared(T + 90 * MINUTE, T + 30 * MINUTE) == (1, None)
    assert compared(T + 90 * MINUTE, T - HOUR) == (1, None)


def test_a_batch_row_may_be_as_late_as_its_sla_leaves() -> None:
    assert ALLOWED_LATENESS["customer_daily"] == 12 * HOUR
    assert ALLOWED_LATENESS["customer_activity"] == HOUR


@pytest.mark.parametrize(
    ("served", "offline", "same"),
    [
        (0.1 + 0.2, 0.3, True),
        (12345.678, 12345.68, True),
        (57.16, 5716.0, False),
        (0.0, 0.01, False),
        (3.0, 4.0, False),
        (1.0, None, False),
    ],
)
def test_values_agree_within_what_float32_leaves(
    served: float, offline: float | None, same: bool
) -> None:
    assert agrees(served, offline) is same
