from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from dojo.shop.datasets import TRANSACTION_SCHEMA
from dojo.shop.events import SHOP_EVENTS, TRANSACTIONS
from services.simulator.sources.synthetic import SyntheticSource

MONDAY = date(2024, 10, 7)


def town(seed: int = 1, fraud_rate: float = 0.015) -> SyntheticSource:
    return SyntheticSource(seed, customers=2000, merchants=1000, fraud_rate=fraud_rate)


def days(source: SyntheticSource, count: int, first: date = MONDAY) -> pl.DataFrame:
    return pl.concat([source.day(first + timedelta(days=n)) for n in range(count)])


def test_a_day_depends_on_seed_and_date_alone() -> None:
    """It does not depend on days read before.

    Live traffic after a restart equals what history would have been.
    """
    used = town()
    days(used, 10)
    assert used.day(MONDAY).equals(town().day(MONDAY))
    assert not used.day(MONDAY).equals(town(seed=2).day(MONDAY))
    assert not used.day(MONDAY)["amount"].equals(used.day(MONDAY + timedelta(days=7))["amount"])


def test_a_day_holds_its_own_payments_in_order_with_ids_of_their_own() -> None:
    frame = days(town(), 14)
    assert dict(frame.schema) == TRANSACTION_SCHEMA
    assert frame["time"].is_sorted()
    assert frame["transaction_id"].is_sorted()
    assert frame["transaction_id"].is_unique().all()
    assert frame["time"].dt.date().unique().sort().to_list() == [
        MONDAY + timedelta(days=n) for n in range(14)
    ]
    assert frame["amount"].min() >= 0.01  # type: ignore[operator]
    assert frame.null_count().sum_horizontal().item() == 0


def test_each_customer_pays_about_twice_a_day() -> None:
    per_day = days(town(), 28).height / 28
    assert per_day == pytest.approx(2 * 2000, rel=0.03)


@pytest.mark.parametrize("stream", SHOP_EVENTS)
def test_each_stream_has_its_usual_number_of_events_a_day(stream: str) -> None:
    source = town()
    week = [MONDAY + timedelta(days=n) for n in range(7)]
    rows = [
        source.day(day)
        if stream == TRANSACTIONS
        else source.scenes[stream].day(day, source.day(day))
        for day in week
    ]
    rows = [of_day.filter("happens") if "happens" in of_day.columns else of_day for of_day in rows]
    found = sum(len(of_day) for of_day in rows) / len(week) / 2000
    assert found == pytest.approx(SHOP_EVENTS[stream].a_day, rel=0.15)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("rate", [0.005, 0.015, 0.05])
def test_the_fraud_rate_over_a_month_is_the_one_that_was_set(seed: int, rate: float) -> None:
    assert days(town(seed, rate), 30)["label"].mean() == pytest.approx(rate, rel=0.15)


def test_the_rhythm_of_day_and_week_is_that_of_a_shop() -> None:
    frame = days(town(), 28).filter(pl.col("label") == 0)
    by_hour = frame.group_by(pl.col("time").dt.hour()).len()
    hours = dict(by_hour.iter_rows())
    assert hours[18] > 10 * hours[3], "evenings are busy, nights are quiet"
    weekdays = dict(frame.group_by(pl.col("time").dt.weekday()).len().iter_rows())
    assert weekdays[6] > 1.15 * weekdays[1], "more on Saturdays than on Mondays"


def test_customers_keep_to_their_neighbourhood() -> None:
    """A customer has few of all merchants.

    Without homes on the map, they would be as many as the payments.
    """
    frame = days(town(), 28).filter(pl.col("label") == 0)
    per_customer = frame.group_by("customer_id").agg(
        pl.len(), pl.col("merchant_id").n_unique().alias("merchants")
    )
    busy = per_customer.filter(pl.col("len") >= 60)
    assert busy.height > 100
    assert busy["merchants"].median() < 40  # type: ignore[operator]


def test_new_customers_keep_appearing() -> None:
    source = town()
    known = set(days(source, 30)["customer_id"])
    later = set(days(source, 30, MONDAY + timedelta(days=100))["customer_id"])
    newcomers = len(later - known) / len(later)
    assert 0.05 < newcomers < 0.25, "a tenth moves in every hundred days"


def test_compromised_merchants_stay_compromised_for_weeks() -> None:
    frame = days(town(), 60)
    frauds = (
        frame.filter(pl.col("label") == 1)
        .group_by("merchant_id")
        .agg(pl.len(), pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
    )
    hit = frauds.filter(pl.col("len") >= 25).with_columns(
        (pl.col("last") - pl.col("first")).dt.total_days().alias("days")
    )
    assert hit.height >= 10
    assert hit["days"].median() >= 18  # type: ignore[operator]


def test_a_stolen_card_pays_more_than_its_holder() -> None:
    frame = days(town(), 30)
    usual = (
        frame.filter(pl.col("label") == 0)
        .group_by("customer_id")
        .agg(pl.col("amount").median().alias("usual"))
    )
    frauds = (
        frame.filter(pl.col("label") == 1)
        .join(usual, on="customer_id")
        .with_columns((pl.col("amount") / pl.col("usual")).alias("ratio"))
    )
    assert frauds["ratio"].quantile(0.9) > 5  # type: ignore[operator]
    assert frauds["ratio"].quantile(0.05) < 0.2, "card testing: small payments first"


def test_fraud_reaches_into_the_night() -> None:
    frame = days(town(), 30).with_columns(pl.col("time").dt.hour().is_between(1, 4).alias("night"))
    by_label = dict(frame.group_by("label").agg(pl.col("night").mean()).iter_rows())
    assert by_label[1] > 3 * by_label[0]


@pytest.mark.parametrize(("customers", "merchants"), [(50, 20), (50, 5000), (3000, 20)])
def test_the_smallest_and_the_oddest_towns_work(customers: int, merchants: int) -> None:
    frame = days(SyntheticSource(1, customers, merchants, 0.02), 20)
    assert frame.height == pytest.approx(2 * customers * 20, rel=0.15)
    assert frame["label"].sum() > 0


SHIFT = MONDAY + timedelta(days=30)


def shifted() -> SyntheticSource:
    return SyntheticSource(1, customers=2000, merchants=1000, fraud_rate=0.015, shift=SHIFT)


def rushes(frame: pl.DataFrame) -> int:
    """Return merchant-hours with a dozen frauds or more."""
    frauds = frame.filter(pl.col("label") == 1).sort("time")
    per_hour = frauds.group_by_dynamic("time", every="1h", group_by="merchant_id").agg(pl.len())
    return per_hour.filter(pl.col("len") >= 8).height


def test_before_the_shift_the_world_is_what_it_would_have_been_without() -> None:
    for n in (0, 29):
        assert (
            shifted().day(MONDAY + timedelta(days=n)).equals(town().day(MONDAY + timedelta(days=n)))
        )
    assert not shifted().day(SHIFT).equals(town().day(SHIFT))


def test_fraudsters_have_new_ways_after_the_shift_and_customers_the_old_ones() -> None:
    before, after = days(shifted(), 28), days(shifted(), 28, SHIFT + timedelta(days=2))
    assert rushes(before) == 0
    assert rushes(after) > 28 * 0.5, "several bust-outs a week at least"
    assert after["label"].mean() == pytest.approx(0.015, rel=0.2), "as much fraud as before"
    honest_before, honest_after = (
        f.filter(pl.col("label") == 0)["amount"].median() for f in (before, after)
    )
    assert honest_after == pytest.approx(honest_before, rel=0.05)  # type: ignore[arg-type]
