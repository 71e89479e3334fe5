"""The world's banners: who sees them, who clicks, and when that is known."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from dojo.core.spec.schema import Label, LabelDelay
from dojo.shop.events import BANNERS
from services.simulator.days import WorldDays
from services.simulator.sources.synthetic import SyntheticSource
from tests.support.towns import DAYS, FIRST, PEOPLE, scenes, town

CLICK = Label(
    event=BANNERS,
    truth="clicked",
    delay=LabelDelay(distribution="lognormal", median="29m", sigma=0.02, maximum="30m"),
)


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return town()


@pytest.fixture(scope="module")
def banners(source: SyntheticSource) -> pl.DataFrame:
    return scenes(source, BANNERS)


def test_a_day_is_the_same_in_another_process_and_other_days_differ(
    source: SyntheticSource,
) -> None:
    monday, next_monday = (scenes(source, BANNERS, [day]) for day in (DAYS[0], DAYS[7]))
    assert scenes(town(), BANNERS, [FIRST]).equals(monday)
    assert set(monday["impression_id"]).isdisjoint(next_monday["impression_id"])
    assert monday["customer_id"].to_list() != next_monday["customer_id"].to_list()
    assert monday["banner_id"].to_list() != next_monday["banner_id"].to_list()


def test_visitors_are_the_customers_who_pay_and_all_see_all_banners(
    source: SyntheticSource, banners: pl.DataFrame
) -> None:
    assert banners["time"].is_sorted()
    assert banners["impression_id"].is_unique().all()
    assert 0.55 < banners.height / (PEOPLE * len(DAYS)) < 0.65
    paid = pl.concat([source.day(day) for day in DAYS])["customer_id"].unique()
    visitors = banners["customer_id"].unique()
    assert visitors.is_in(paid.implode()).mean() > 0.97, "some who visit do not pay for weeks"
    shares = banners["banner_id"].value_counts(normalize=True)["proportion"]
    assert shares.len() == 12
    assert shares.min() > 0.8 / 12


def test_clicks_follow_their_chance_which_differs_by_customer_banner_and_hour(
    banners: pl.DataFrame,
) -> None:
    rate, chance = banners["clicked"].mean(), banners["click_chance"].mean()
    error = np.sqrt(chance * (1 - chance) / banners.height)
    assert rate == pytest.approx(chance, abs=4 * error)
    assert 0.02 < rate < 0.12
    tenths = banners.sort("click_chance").with_row_index()
    tenths = tenths.group_by(pl.col("index") * 10 // banners.height).agg(pl.col("clicked").mean())
    by_tenth = tenths.sort("index")["clicked"]
    assert by_tenth[9] > 5 * by_tenth[0]
    evening = pl.col("time").dt.hour().is_between(18, 22)
    by_hour = dict(banners.group_by(evening).agg(pl.col("click_chance").mean()).iter_rows())
    assert by_hour[True] > 1.3 * by_hour[False]


def test_a_click_is_known_within_minutes_and_no_click_after_half_an_hour(
    source: SyntheticSource,
) -> None:
    world = WorldDays(source, {"banner": CLICK}, seed=5, first=FIRST)
    first = world.events(BANNERS, FIRST)
    known = pl.concat([world.outcomes(FIRST + timedelta(days=n)) for n in range(2)])
    own = known.join(first, left_on="request_id", right_on="impression_id")
    assert own.height == first.height
    took = own.with_columns(took=(pl.col("arrival") - pl.col("time")).dt.total_seconds())
    assert took.filter(label=0.0)["took"].min() > 29.9 * 60
    assert took.filter(label=1.0)["took"].median() < 5 * 60
    assert took["took"].max() < 30.1 * 60
