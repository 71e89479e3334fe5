"""The public book's evaluation protocol: which payments train and test, and how cards are judged.

Le Borgne, Siblini, Lebichot, Bontempi, Reproducible Machine Learning for Credit Card Fraud
Detection (2022), chapter 3, `get_train_test_set`. Days are counted from `start`:

    [0, train_days)                             training
    [train_days, train_days + delay_days)       labels are arriving; nothing is used
    the test_days after that                    test, without customers known to be compromised

Customers with a fraud in the training days are known. On test day k (from 0), more customers are
known. They have a fraud on one of the days up to train_days + k - 1. On that day these labels are
more than delay_days old.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl


class ProtocolError(ValueError):
    """The file cannot answer the question. The message says what it lacks."""


@dataclass(frozen=True, slots=True)
class Period:
    """The protocol's days.

    Attributes:
        start: First training day, a world date.
        train_days: Days of training, >= 1.
        delay_days: Days of label delay, >= 0.
        test_days: Days of test, >= 1.
    """

    start: date
    train_days: int
    delay_days: int
    test_days: int

    @property
    def train_end(self) -> date:
        return self.start + timedelta(days=self.train_days)

    @property
    def test_start(self) -> date:
        return self.train_end + timedelta(days=self.delay_days)

    @property
    def test_end(self) -> date:
        return self.test_start + timedelta(days=self.test_days)


def training_transactions(transactions: pl.DataFrame, period: Period) -> pl.DataFrame:
    """Return the payments of the training days.

    transactions: columns time (UTC), customer_id, label, and any others.
    """
    return _between(transactions, period.start, period.train_end)


def judged_transactions(transactions: pl.DataFrame, period: Period) -> pl.DataFrame:
    """Return the payments of the test days without known compromised customers.

    Adds `test_day` (0, 1, ...).
    """
    known = _defrauded(training_transactions(transactions, period))
    days = []
    for k in range(period.test_days):
        # The first of these days is the last training day. Its customers are known already, as in
        # the book.
        label_day = period.train_end + timedelta(days=k - 1)
        known |= _defrauded(_between(transactions, label_day, label_day + timedelta(days=1)))
        day = period.test_start + timedelta(days=k)
        rows = _between(transactions, day, day + timedelta(days=1))
        days.append(
            rows.filter(~pl.col("customer_id").is_in(sorted(known))).with_columns(
                pl.lit(k, dtype=pl.Int32).alias("test_day")
            )
        )
    return pl.concat(days)


def require_covered(transactions: pl.DataFrame, period: Period) -> None:
    """Refuse a file that does not cover the first training day through the last test day.

    Raises:
        ProtocolError: The file does not cover the period.
    """
    first, last = transactions["time"].min(), transactions["time"].max()
    if not (isinstance(first, datetime) and isinstance(last, datetime)):
        raise ProtocolError("the file holds no transactions")
    if period.start < first.date() or period.test_end - timedelta(days=1) > last.date():
        raise ProtocolError(
            f"the period from {period.start} to {period.test_end - timedelta(days=1)}"
            f" ({period.train_days} days of training, {period.delay_days} of label delay,"
            f" {period.test_days} of test) is not covered: the file holds transactions from"
            f" {first.date()} to {last.date()}"
        )


def require_both_classes(rows: pl.DataFrame, what: str, first: date, end: date) -> None:
    """Refuse rows of one class only, which allow neither learning nor measuring.

    Raises:
        ProtocolError: There is no fraud, or nothing but fraud.
    """
    positives = int(rows["label"].sum())
    if positives in (0, len(rows)):
        raise ProtocolError(
            f"the {what} days ({first} to {end - timedelta(days=1)}) need fraudulent and legitimate"
            f" transactions, found {positives:,} positives in {len(rows):,}"
        )


def _defrauded(rows: pl.DataFrame) -> set[str]:
    return set(rows.filter(pl.col("label") == 1)["customer_id"])


def _between(transactions: pl.DataFrame, first: date, end: date) -> pl.DataFrame:
    start, stop = (datetime.combine(day, time(), UTC) for day in (first, end))
    return transactions.filter(pl.col("time").is_between(start, stop, closed="left"))
