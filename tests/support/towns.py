"""A synthetic town of four weeks, and what happens there besides payments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from services.simulator.sources.synthetic import SyntheticSource

PEOPLE = 1500
FIRST = date(2024, 11, 4)  # a Monday
DAYS = tuple(FIRST + timedelta(days=n) for n in range(28))


def town(people: int = PEOPLE) -> SyntheticSource:
    """Return a town with as many shops as people."""
    return SyntheticSource(seed=5, customers=people, merchants=people, fraud_rate=0.015)


def scenes(source: SyntheticSource, stream: str, days: Sequence[date] = DAYS) -> pl.DataFrame:
    """Return the rows of a stream other than payments."""
    return pl.concat([source.scenes[stream].day(day, source.day(day)) for day in days])


def assert_each_row_follows_from_its_payment(
    source: SyntheticSource, stream: str, key: str
) -> None:
    """Another process makes the same rows, and a row needs no other payment than its own."""
    payments, scene = source.day(FIRST), source.scenes[stream]
    day = scene.day(FIRST, payments)
    assert scenes(town(), stream, [FIRST]).equals(day)
    half = scene.day(FIRST, payments[::2])
    assert half.equals(day.filter(pl.col(key).is_in(half[key].implode())))
    assert scene.day(FIRST, payments.clear()).schema == day.schema
