# ruff: noqa: DTZ001  (Hypothesis wants bounds without a zone)
"""Label delays, days with their outcomes, and the batches of live traffic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from statistics import NormalDist

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo.core.spec.schema import Label, LabelDelay
from dojo.shop.datasets import TRANSACTION_SCHEMA
from dojo.shop.events import TRANSACTIONS
from services.simulator.days import WorldDays, start_of
from services.simulator.feed import Feed
from services.simulator.labels import label_delays
from services.simulator.sources.span import (
    LIVE_DAYS,
    SYNTHETIC_HISTORY_END,
    Span,
    TooShortError,
    history_span,
)

MODEL = "a_model"
DELAY = LabelDelay.model_validate(
    {"distribution": "lognormal", "median": "2d", "sigma": 0.8, "maximum": "7d"}
)
LABEL = Label(event="transactions", truth="fraud", delay=DELAY)
FIRST = date(2024, 1, 1)
DAY = timedelta(days=1)


class TableSource:
    """A source with a test's rows."""

    def __init__(self, times: list[datetime], last: date | None = None) -> None:
        self._rows = pl.DataFrame(
            {
                "transaction_id": [f"t{n:05d}" for n in range(len(times))],
                "customer_id": "c",
                "merchant_id": "m",
                "time": sorted(times),
                "amount": 1.0,
                "label": 0,
            },
            schema=TRANSACTION_SCHEMA,
        )
        self._last = last

    def day(self, day: date) -> pl.DataFrame:
        return self._rows.filter(pl.col("time").dt.date() == day)

    def days(self) -> tuple[date, date | None]:
        return FIRST, self._last

    def identity(self) -> Mapping[str, object]:
        return {"source": "table"}


def test_label_delays_follow_the_specs_quantiles_and_are_cut_at_the_maximum() -> None:
    ids = pl.Series([f"20240101-{n:07d}" for n in range(100_000)])
    days = label_delays(ids, DELAY, seed=7).dt.total_seconds() / 86400
    for share in (0.05, 0.25, 0.5, 0.75, 0.9):
        expected = 2 * math.exp(0.8 * NormalDist().inv_cdf(share))
        assert days.quantile(share, "linear") == pytest.approx(expected, rel=0.02)
    assert days.max() == 7
    late = 1 - NormalDist().cdf(math.log(7 / 2) / 0.8)
    assert (days == 7).mean() == pytest.approx(late, rel=0.05)


def test_a_label_delay_depends_on_seed_and_id_alone() -> None:
    ids = pl.Series([str(n) for n in range(1000)])
    delays = label_delays(ids, DELAY, seed=7)
    assert delays.equals(label_delays(ids.reverse(), DELAY, seed=7).reverse())
    other = label_delays(ids, DELAY, seed=8)
    assert (delays == other).sum() < 20  # only delays cut at the maximum in both
    pair = pl.DataFrame({"a": delays.dt.total_seconds(), "b": other.dt.total_seconds()})
    assert abs(pair.select(pl.corr("a", "b")).item()) < 0.1


def test_neighbouring_ids_have_unrelated_delays() -> None:
    seconds = label_delays(
        pl.Series([str(n) for n in range(50_000)]), DELAY, seed=7
    ).dt.total_seconds()
    pair = pl.DataFrame({"a": seconds[:-1], "b": seconds[1:]})
    assert abs(pair.select(pl.corr("a", "b")).item()) < 0.02


def test_every_transaction_has_one_outcome_on_the_day_it_arrives() -> None:
    times = [start_of(FIRST) + timedelta(minutes=37 * n) for n in range(400)]  # ten days
    world = WorldDays(TableSource(times), {MODEL: LABEL}, seed=3, first=FIRST)
    outcomes = [world.outcomes(FIRST + DAY * n) for n in range(20)]
    for n, known in enumerate(outcomes):
        assert known["arrival"].is_sorted()
        assert (known["arrival"].dt.date() == FIRST + DAY * n).all()
    every = pl.concat(outcomes)
    assert sorted(every["request_id"]) == [f"t{n:05d}" for n in range(400)]
    assert (every["arrival"] > every["time"]).all()


def test_each_model_learns_of_every_transaction_after_its_own_delay() -> None:
    times = [start_of(FIRST) + timedelta(minutes=37 * n) for n in range(400)]
    quick = LabelDelay.model_validate(
        {"distribution": "lognormal", "median": "1h", "sigma": 0.1, "maximum": "2h"}
    )
    world = WorldDays(
        TableSource(times),
        {MODEL: LABEL, "quick": LABEL.model_copy(update={"delay": quick})},
        seed=3,
        first=FIRST,
    )
    alone = WorldDays(TableSource(times), {MODEL: LABEL}, seed=3, first=FIRST)
    every = pl.concat([world.outcomes(FIRST + DAY * n) for n in range(20)])
    of_quick = every.filter(pl.col("model") == "quick")
    assert sorted(of_quick["request_id"]) == [f"t{n:05d}" for n in range(400)]
    assert (of_quick["arrival"] - of_quick["time"]).max() <= timedelta(hours=2)
    of_model = every.filter(pl.col("model") == MODEL)
    assert of_model.equals(pl.concat([alone.outcomes(FIRST + DAY * n) for n in range(20)])), (
        "another model changes nothing"
    )


def test_each_model_is_told_what_its_spec_asks() -> None:
    times = [start_of(FIRST) + timedelta(minutes=37 * n) for n in range(40)]
    labels = {"fraud": LABEL, "amount": LABEL.model_copy(update={"truth": "amount"})}
    world = WorldDays(TableSource(times), labels, seed=3, first=FIRST)
    every = pl.concat([world.outcomes(FIRST + DAY * n) for n in range(20)])
    told = {model: set(every.filter(pl.col("model") == model)["label"]) for model in labels}
    assert told == {"fraud": {0.0}, "amount": {1.0}}


def test_what_a_source_holds_before_the_worlds_first_day_never_happened() -> None:
    times = [start_of(FIRST) + timedelta(hours=n) for n in range(240)]
    world = WorldDays(TableSource(times), {MODEL: LABEL}, seed=3, first=FIRST + DAY * 5)
    assert world.events(TRANSACTIONS, FIRST + DAY * 4).is_empty()
    known = pl.concat([world.outcomes(FIRST + DAY * n) for n in range(18)])
    assert known["time"].min() == start_of(FIRST + DAY * 5)


MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2024, 1, 5), timezones=st.just(UTC))
# Four busy minutes in whole seconds. Several payments have the same microsecond, others come right
# after.
BUSY = st.integers(0, 240).map(
    lambda second: start_of(FIRST) + timedelta(hours=9, seconds=second // 8 * 8)
)
TIMES = st.lists(st.one_of(MOMENTS, BUSY), max_size=60)


@settings(max_examples=25, deadline=None)
@given(times=TIMES, looks=st.lists(MOMENTS, max_size=8), limit=st.integers(1, 7))
def test_batches_leave_nothing_out_and_overlap_nowhere(
    times: list[datetime], looks: list[datetime], limit: int
) -> None:
    """Every row comes out once and in order, for all looks at the clock and all batch limits."""
    world = WorldDays(TableSource(times), {MODEL: LABEL}, seed=3, first=FIRST)
    feed = Feed(world)
    cursor = start_of(FIRST)
    transactions, outcomes = [], []
    for now in [*sorted(looks), start_of(FIRST + DAY * 13)]:
        while cursor < now:
            batch = feed.due(cursor, now, limit)
            assert cursor < batch.until <= now
            assert (
                (batch.events[TRANSACTIONS]["time"] >= cursor)
                & (batch.events[TRANSACTIONS]["time"] < batch.until)
            ).all()
            assert (
                (batch.outcomes["arrival"] >= cursor) & (batch.outcomes["arrival"] < batch.until)
            ).all()
            assert (
                batch.events[TRANSACTIONS].height <= limit
                or batch.events[TRANSACTIONS]["time"].n_unique() == 1
            )
            transactions += batch.events[TRANSACTIONS]["transaction_id"].to_list()
            outcomes += batch.outcomes["request_id"].to_list()
            cursor = batch.until
    every = [f"t{n:05d}" for n in range(len(times))]
    assert transactions == every
    assert sorted(outcomes) == every


@pytest.mark.parametrize(
    ("length", "live"), [(91, LIVE_DAYS), (56, LIVE_DAYS), (40, 5), (8, 1), (2, 1)]
)
def test_a_replayed_file_keeps_its_last_days_for_live_traffic(length: int, live: int) -> None:
    last = FIRST + DAY * (length - 1)
    span = history_span(TableSource([], last), history_days=1000)
    assert span == Span(FIRST, FIRST + DAY * (length - live))
    assert len(span.days) == length - live


def test_history_is_as_long_as_asked_when_there_is_enough() -> None:
    assert history_span(TableSource([], FIRST + DAY * 90), history_days=45).days[
        0
    ] == FIRST + DAY * (91 - 7 - 45)
    endless = history_span(TableSource([]), history_days=100)
    assert endless.end == SYNTHETIC_HISTORY_END
    assert endless.end.weekday() == 0
    assert len(endless.days) == 100


def test_a_file_of_one_day_cannot_be_replayed() -> None:
    with pytest.raises(TooShortError, match="holds one day"):
        history_span(TableSource([], FIRST), history_days=45)
