"""The computations, against plain Python after the catalogue, and against use of the future."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.catalog import VIEWS
from feature_repo.shop import CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY
from feature_repo.shop.customer_days import customer_daily
from feature_repo.shop.merchant_days import merchant_daily
from feature_repo.shop.merchants import MERCHANT_MEMORY_DAYS
from feature_repo.views import published_at
from feature_repo.windows import JUST_AFTER, offline_rows
from tests.support.feature_reference import (
    Payment,
    activity_at,
    customer_at,
    merchant_at,
    outcomes_of,
    transactions_of,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
SPAN_DAYS = 60
# Every third midnight, so that the same time allows three times the examples.
DAYS = [START.date() + timedelta(days=d) for d in range(0, SPAN_DAYS + 1, 3)]


@st.composite
def payments(draw: st.DrawFn) -> list[Payment]:
    """Up to 60 payments of three customers at two merchants in 60 days.

    There are bursts and ties, and late, lost and corrected outcomes.
    """
    drawn = draw(
        st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.sampled_from("xy"),
                st.integers(0, SPAN_DAYS - 1),
                # Seconds of the day: edges of days and hours, and anything between.
                st.one_of(st.sampled_from([0, 1, 3600, 7200, 86399]), st.integers(0, 86399)),
                st.integers(0, 100_000),
                st.sampled_from([0, 0, 1]),
                st.one_of(st.none(), st.integers(0, 12 * 86400)),
                st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 9 * 86400)), max_size=2),
            ),
            max_size=60,
        )
    )
    result = []
    for number, (customer, merchant, day, second, cents, label, delay, later) in enumerate(drawn):
        moment = START + timedelta(days=day, seconds=second)
        arrival = None if delay is None else moment + timedelta(seconds=delay)
        corrections = []
        corrected = arrival
        for again, after in later if corrected is not None else ():
            corrected = (corrected or moment) + timedelta(seconds=after)
            corrections.append((again, corrected))
        result.append(
            Payment(
                f"t{number}", customer, merchant, moment, cents, label, arrival, tuple(corrections)
            )
        )
    return result


def rows_by(frame: pl.DataFrame, key: str) -> dict[tuple[str, datetime], dict[str, float]]:
    return {(row.pop(key), row.pop("event_timestamp")): row for row in frame.to_dicts()}


def same(found: dict[str, float], expected: dict[str, float]) -> bool:
    return found == pytest.approx(expected, rel=1e-9, abs=1e-6)  # std: difference of squares


@settings(max_examples=25, deadline=None)
@given(payments())
def test_customer_days_equal_the_catalogue_spelled_out(made: list[Payment]) -> None:
    found = rows_by(customer_daily(transactions_of(made), DAYS), "customer_id")
    for day in DAYS:
        for customer in "abc":
            row = found.get((customer, published_at(day)))
            expected = customer_at(made, customer, day)
            assert same(row if row is not None else dict.fromkeys(expected, 0.0), expected), (
                customer,
                day,
            )


@settings(max_examples=25, deadline=None)
@given(payments())
def test_merchant_days_equal_the_catalogue_spelled_out(made: list[Payment]) -> None:
    found = rows_by(merchant_daily(transactions_of(made), outcomes_of(made), DAYS), "merchant_id")
    for day in DAYS:
        for merchant in "xy":
            row = found.get((merchant, published_at(day)))
            seen = any(p.merchant_id == merchant and p.time.date() < day for p in made)
            assert (row is not None) == seen, (merchant, day)
            if row is not None:
                assert same(row, merchant_at(made, merchant, day)), (merchant, day)


@settings(max_examples=40, deadline=None)
@given(payments())
def test_activity_equals_the_catalogue_spelled_out(made: list[Payment]) -> None:
    for view in (CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY):
        key = view.key
        found = rows_by(offline_rows(view, transactions_of(made)), key)
        expected = {
            (getattr(p, key), p.time + JUST_AFTER): activity_at(made, key, getattr(p, key), p.time)
            for p in made
        }
        assert found.keys() == expected.keys()
        assert all(same(found[at], expected[at]) for at in expected)


@settings(max_examples=25, deadline=None)
@given(payments(), payments(), st.integers(1, SPAN_DAYS))
def test_no_value_comes_from_after_its_time(
    made: list[Payment], future: list[Payment], cut_day: int
) -> None:
    """Replace all transactions and outcomes after a moment. Earlier values must not change."""
    cut = START + timedelta(days=cut_day)
    days = [day for day in DAYS if day <= cut.date()]
    changed = [
        (
            Payment(
                p.transaction_id, p.customer_id, p.merchant_id, p.time, p.cents, 1 - p.label, None
            )
            if p.arrival is not None and p.arrival >= cut
            else replace(
                p, corrections=tuple((label, at) for label, at in p.corrections if at < cut)
            )
        )
        for p in made
        if p.time < cut
    ] + [
        Payment(
            f"f{p.transaction_id}",
            p.customer_id,
            p.merchant_id,
            p.time,
            p.cents,
            p.label,
            p.arrival,
        )
        for p in future
        if p.time >= cut
    ]
    before, after = transactions_of(made), transactions_of(changed)
    assert customer_daily(before, days).equals(customer_daily(after, days))
    assert merchant_daily(before, outcomes_of(made), days).equals(
        merchant_daily(after, outcomes_of(changed), days)
    )
    for view in (CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY):
        early = pl.col("event_timestamp") <= cut
        assert (
            offline_rows(view, before).filter(early).equals(offline_rows(view, after).filter(early))
        )


@settings(max_examples=15, deadline=None)
@given(payments(), st.sampled_from(DAYS))
def test_a_day_computed_alone_equals_the_same_day_of_a_long_run(
    made: list[Payment], day: date
) -> None:
    for alone, long in (
        (customer_daily(transactions_of(made), [day]), customer_daily(transactions_of(made), DAYS)),
        (
            merchant_daily(transactions_of(made), outcomes_of(made), [day]),
            merchant_daily(transactions_of(made), outcomes_of(made), DAYS),
        ),
    ):
        assert alone.equals(long.filter(pl.col("event_timestamp") == published_at(day)))


def test_an_outcome_that_comes_after_the_label_delay_counts_from_the_midnight_after_it() -> None:
    paid = START + timedelta(hours=12)
    made = [Payment("t1", "a", "x", paid, 500, 1, paid + timedelta(days=9))]
    days = [date(2026, 1, day) for day in range(1, 15)]
    found = rows_by(merchant_daily(transactions_of(made), outcomes_of(made), days), "merchant_id")
    risk = {at.date(): row["merchant_risk_30d"] for (_, at), row in found.items()}
    assert risk[date(2026, 1, 9)] == 0.0  # the delay is over, but the label is missing
    assert risk[date(2026, 1, 10)] == 0.0  # it arrives at noon of this day
    assert risk[date(2026, 1, 11)] == 1.0


def test_a_corrected_label_counts_from_the_midnight_after_the_correction() -> None:
    paid = START + timedelta(hours=12)
    corrected = (1, paid + timedelta(days=10))
    made = [
        Payment("t1", "a", "x", paid, 500, 0, paid + timedelta(days=1), (corrected,)),
        Payment("t2", "a", "x", paid, 500, 0, paid + timedelta(days=1)),
    ]
    days = [date(2026, 1, day) for day in (9, 11, 12)]
    found = merchant_daily(transactions_of(made), outcomes_of(made), days).sort("event_timestamp")
    for name, values in {
        "merchant_tx_count_30d": [2, 2, 2],
        "merchant_risk_30d": [0, 0, 0.5],
        "merchant_fraud_count_30d": [0, 0, 1],
        "merchant_last_risk": [0, 0, 0.5],
        "merchant_fraud_age_days": [90, 90, 11],
    }.items():
        assert found[name].to_list() == values, name


def test_a_day_is_complete_with_its_first_labels_and_stays_so_after_corrections() -> None:
    paid = START + timedelta(hours=12)
    withdrawn = (0, paid + timedelta(days=10))
    made = [
        Payment("t1", "a", "x", paid, 500, 1, paid + timedelta(days=1), (withdrawn,)),
        Payment("t2", "a", "x", paid, 500, 0, paid + timedelta(days=1)),
    ]
    days = [date(2026, 1, day) for day in (9, 11, 12)]
    found = merchant_daily(transactions_of(made), outcomes_of(made), days).sort("event_timestamp")
    assert found["merchant_last_risk"].to_list() == [0.5, 0.5, 0.0]


def test_a_merchant_is_forgotten_with_one_last_row_of_zeros() -> None:
    made = [Payment("t1", "a", "x", START, 500, 1, START + timedelta(days=1))]
    days = [START.date() + timedelta(days=d) for d in range(MERCHANT_MEMORY_DAYS + 10)]
    rows = merchant_daily(transactions_of(made), outcomes_of(made), days)
    assert rows.height == MERCHANT_MEMORY_DAYS + 1
    last_but_one, last = rows.drop("merchant_id", "event_timestamp").tail(2).rows()
    assert set(last) == {0.0}
    assert 90.0 in last_but_one


def test_without_transactions_every_view_is_empty_and_has_its_columns() -> None:
    none = transactions_of([])
    computed = {
        "customer_daily": customer_daily(none, DAYS),
        "merchant_daily": merchant_daily(none, outcomes_of([]), DAYS),
        "customer_activity": offline_rows(CUSTOMER_ACTIVITY, none),
        "merchant_activity": offline_rows(MERCHANT_ACTIVITY, none),
    }
    for name, frame in computed.items():
        assert frame.is_empty()
        assert frame.columns[2:] == [feature.name for feature in VIEWS[name].features]


@pytest.mark.parametrize(
    ("gap_days", "streak_began"), [(10, date(2026, 1, 1)), (11, date(2026, 1, 12))]
)
def test_a_streak_ends_after_ten_days_without_fraud(gap_days: int, streak_began: date) -> None:
    times = [START, START + timedelta(days=gap_days)]
    made = [
        Payment(f"t{n}", "a", "x", at, 500, 1, at + timedelta(days=1)) for n, at in enumerate(times)
    ]
    day = date(2026, 1, 25)
    (row,) = merchant_daily(transactions_of(made), outcomes_of(made), [day]).to_dicts()
    assert row["merchant_streak_age_days"] == (day - streak_began).days
    assert row["merchant_fraud_age_days"] == (day - times[1].date()).days


def test_streaming_windows_are_open_at_their_old_end_and_closed_at_the_new_one() -> None:
    latest = START + timedelta(days=2)
    ages = [
        timedelta(days=1),
        timedelta(hours=23),
        timedelta(hours=1),
        timedelta(minutes=59),
        timedelta(0),
        timedelta(0),
    ]
    made = [Payment(f"t{n}", "a", "x", latest - age, 10**n, 0, None) for n, age in enumerate(ages)]
    row = offline_rows(CUSTOMER_ACTIVITY, transactions_of(made)).row(-1, named=True)
    assert row["customer_last_tx_count_24h"] == 5  # the first is exactly a day old
    assert row["customer_last_tx_count_1h"] == 3  # the third is exactly an hour old
    assert row["customer_last_amount_1h"] == pytest.approx((1_000 + 10_000 + 100_000) / 100)
    expected = activity_at(made, "customer_id", "a", latest)
    assert same({name: row[name] for name in expected}, expected)
