"""The book's protocol on hand-made days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from pipelines.backtest.protocol import (
    Period,
    ProtocolError,
    judged_transactions,
    require_both_classes,
    require_covered,
    training_transactions,
)

START = date(2018, 6, 10)
PERIOD = Period(START, train_days=2, delay_days=2, test_days=3)  # train 0-1, delay 2-3, test 4-6


def frame(*rows: tuple[int, str, int]) -> pl.DataFrame:
    """Make rows of (day from START, customer, label), at noon."""
    noon = datetime(2018, 6, 10, 12, tzinfo=UTC)
    return pl.DataFrame(
        [
            {"time": noon + timedelta(days=day), "customer_id": customer, "label": label}
            for day, customer, label in rows
        ],
        schema={"time": pl.Datetime("us", "UTC"), "customer_id": pl.String, "label": pl.Int8},
    )


def judged(transactions: pl.DataFrame) -> list[tuple[int, str]]:
    return [
        (row["test_day"], row["customer_id"])
        for row in judged_transactions(transactions, PERIOD).iter_rows(named=True)
    ]


def test_days_before_between_and_after_are_in_neither_part() -> None:
    transactions = frame(*((day, f"c{day}", 0) for day in range(-1, 8)))
    assert training_transactions(transactions, PERIOD)["customer_id"].to_list() == ["c0", "c1"]
    assert judged(transactions) == [(0, "c4"), (1, "c5"), (2, "c6")]


def test_a_day_begins_at_midnight() -> None:
    midnight = datetime(2018, 6, 12, tzinfo=UTC)
    transactions = frame((0, "a", 0), (0, "b", 0)).with_columns(
        time=pl.Series([midnight, midnight - timedelta(microseconds=1)])
    )
    assert training_transactions(transactions, PERIOD)["customer_id"].to_list() == ["b"]


def test_customers_with_fraud_in_training_are_known_on_every_test_day() -> None:
    transactions = frame(
        (0, "a", 1), (0, "b", 0), *((day, customer, 0) for day in (4, 5, 6) for customer in "ab")
    )
    assert judged(transactions) == [(0, "b"), (1, "b"), (2, "b")]


def test_a_fraud_in_the_delay_is_known_once_its_label_is_older_than_the_delay() -> None:
    # Fraud on day 2 (train_days + k - 1 with k = 1). It is unknown on test day 0, and known from
    # test day 1 on. Fraud on day 3 is known from test day 2 on.
    transactions = frame(
        (2, "a", 1), (3, "b", 1), *((day, customer, 0) for day in (4, 5, 6) for customer in "ab")
    )
    assert judged(transactions) == [(0, "a"), (0, "b"), (1, "b")]


def test_a_fraud_on_a_test_day_stays_unknown_until_the_delay_is_over() -> None:
    transactions = frame((4, "a", 1), (5, "a", 1), (6, "a", 1))
    assert judged(transactions) == [(0, "a"), (1, "a"), (2, "a")]


def book_test_set(transactions: pl.DataFrame) -> set[tuple[int, str]]:
    """Compute the book's `get_train_test_set` (chapter 3), line by line, in pandas."""
    df = transactions.to_pandas()
    days = (df.time - datetime(2018, 6, 10, tzinfo=UTC)).dt.days
    delta_train, delta_delay, delta_test = 2, 2, 3
    train = df[days.between(0, delta_train - 1)]
    known = set(train[train.label == 1].customer_id)
    kept: set[tuple[int, str]] = set()
    for day in range(delta_test):
        of_day = df[days.eq(delta_train + delta_delay + day)]
        delayed = df[days.eq(delta_train + day - 1)]
        known = known.union(set(delayed[delayed.label == 1].customer_id))
        kept |= {(day, c) for c in of_day[~of_day.customer_id.isin(known)].customer_id}
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_membership_agrees_with_the_books_code(seed: int) -> None:
    import random

    dice = random.Random(seed)
    transactions = frame(
        *(
            (dice.randint(-1, 8), f"c{dice.randint(0, 25)}", int(dice.random() < 0.15))
            for _ in range(300)
        )
    )
    assert set(judged(transactions)) == book_test_set(transactions)


def test_an_uncovered_period_is_refused_with_what_the_file_holds() -> None:
    transactions = frame((0, "a", 0), (5, "a", 0))
    with pytest.raises(
        ProtocolError,
        match=r"from 2018-06-10 to 2018-06-16 .* holds transactions from 2018-06-10 to 2018-06-15",
    ):
        require_covered(transactions, PERIOD)
    with pytest.raises(ProtocolError, match="not covered"):
        require_covered(frame((1, "a", 0), (6, "a", 0)), PERIOD)
    require_covered(frame((0, "a", 0), (6, "a", 0)), PERIOD)


def test_days_without_fraud_are_refused() -> None:
    with pytest.raises(
        ProtocolError, match=r"the test days \(2018-06-14 to 2018-06-16\) .* 0 positives in 2"
    ):
        require_both_classes(
            frame((4, "a", 0), (5, "a", 0)), "test", PERIOD.test_start, PERIOD.test_end
        )
