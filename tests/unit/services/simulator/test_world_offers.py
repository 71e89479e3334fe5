"""The world's offers: one price of several, and what a product sells at it."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import numpy as np
import polars as pl
import pytest

from dojo.core.spec.schema import Label, LabelDelay
from dojo.shop.events import OFFERS
from dojo.shop.prices import BY_CHANCE, COST, LEVELS
from services.simulator.days import WorldDays
from services.simulator.events import outcome_history
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.town.offers import ELASTICITY, Offers
from services.simulator.town.rhythm import WEEKDAY_FACTOR
from tests.support.towns import DAYS, FIRST, PEOPLE, scenes, town

PRODUCTS = round(0.12 * PEOPLE)
UNITS = Label(
    event=OFFERS,
    truth="units",
    delay=LabelDelay(distribution="lognormal", median="24h", sigma=0.01, maximum="25h"),
)


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return town()


@pytest.fixture(scope="module")
def offers(source: SyntheticSource) -> pl.DataFrame:
    return scenes(source, OFFERS)


def test_a_day_is_the_same_in_another_process_and_other_days_differ(
    source: SyntheticSource,
) -> None:
    monday, next_monday = (scenes(source, OFFERS, [day]) for day in (DAYS[0], DAYS[7]))
    assert scenes(town(), OFFERS, [FIRST]).equals(monday)
    assert monday["units"].to_list() != next_monday["units"].to_list()
    assert monday["happens"].to_list() != next_monday["happens"].to_list()


def test_a_product_has_one_offer_a_day_at_one_of_the_considered_prices(
    offers: pl.DataFrame,
) -> None:
    assert offers["time"].is_sorted()
    assert offers["offer_id"].is_unique().all()
    days = offers.group_by("list_id").agg(
        pl.col("happens").sum(), pl.col("price", "product_id").n_unique(), pl.len()
    )
    assert days.height == PRODUCTS * len(DAYS)
    assert set(days["happens"]) == {1}
    assert set(days["len"]) == set(days["price"]) == {len(LEVELS)}
    assert set(days["product_id"]) == {1}
    level = offers.filter("happens")["offer_id"].str.slice(-1).value_counts(normalize=True)
    assert level["proportion"].min() > 0.9 / len(LEVELS)
    assert offers["by_chance"].mean() == pytest.approx(BY_CHANCE, abs=0.02)


def test_units_are_poisson_numbers_that_answer_the_price(offers: pl.DataFrame) -> None:
    surprise = (offers["units"] - offers["usual_units"]) / offers["usual_units"].sqrt()
    assert surprise.mean() == pytest.approx(0, abs=4 / np.sqrt(offers.height))
    assert surprise.var() == pytest.approx(1, abs=0.05)
    by_level = offers.with_columns(level=pl.col("price") / pl.col("regular_price")).group_by(
        pl.col("level").round(1)
    )
    sold = dict(by_level.agg(pl.col("units").mean()).iter_rows())
    assert sold[0.9] > 1.1 * sold[1.0] > 1.1 * 1.1 * sold[1.1]


def test_offers_come_evenly_over_the_day(offers: pl.DataFrame) -> None:
    times = offers.filter(pl.col("time").dt.date() == FIRST)["time"].unique().sort()
    apart = times.diff().drop_nulls().dt.total_seconds(fractional=True).to_numpy()
    assert len(times) == PRODUCTS
    assert np.allclose(apart, 86_400 / PRODUCTS)


def test_a_product_costs_the_same_at_each_price(offers: pl.DataFrame) -> None:
    assert (offers["cost"] / offers["regular_price"]).to_list() == pytest.approx(
        [COST] * offers.height,
        abs=0.01 / offers["regular_price"].min(),  # type: ignore[operator]
    )


def test_the_demand_has_the_weekdays_of_the_shop_and_each_kind_its_elasticity(
    source: SyntheticSource, offers: pl.DataFrame
) -> None:
    made = cast("Offers", source.scenes[OFFERS])
    product, ten = np.arange(PRODUCTS), np.full(PRODUCTS, 10.0)
    monday, saturday = (made.usual_units(DAYS[day], product, ten) for day in (0, 5))
    ratio = WEEKDAY_FACTOR[5] / WEEKDAY_FACTOR[0]
    assert np.allclose(saturday / monday, ratio)
    lost = np.log(monday / made.usual_units(DAYS[0], product, 1.1 * ten)) / np.log(1.1)
    assert set(lost.round(6)) == set(ELASTICITY.values())
    kinds = offers.filter(pl.col("time").dt.date() == FIRST).unique("product_id")
    of_kind = [ELASTICITY[name] for name in kinds.sort("product_id")["category"]]
    assert np.allclose(lost, of_kind)


def test_history_has_the_units_of_what_chance_offers_a_day_later(source: SyntheticSource) -> None:
    world = WorldDays(source, {"demand": UNITS}, seed=5, first=FIRST)
    events = world.events(OFFERS, FIRST)
    assert events.height == PRODUCTS
    assert events["happens"].all()
    assert world.possible(OFFERS, FIRST).height == PRODUCTS * len(LEVELS)
    known = world.outcomes(FIRST + timedelta(days=1))
    assert known.height == PRODUCTS * len(LEVELS)
    written = outcome_history(known)
    assert set(written["request_id"]) == set(events["offer_id"])
    took = (written["world_time"] - written["request_time"]).unique().to_list()
    assert took == [timedelta(days=1)]
