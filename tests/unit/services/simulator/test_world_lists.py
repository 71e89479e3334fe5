"""The world's lists of products: what is in them, and what a position changes."""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl
import pytest

from dojo.core.spec.schema import Label, LabelDelay
from dojo.shop.events import SEARCHES, SUGGESTIONS
from dojo.shop.lists import ATTENTION, weight
from dojo.shop.truths import BOUGHT, truth
from services.simulator.days import WorldDays
from services.simulator.events import outcome_history
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.town.lists import SEARCH, SUGGESTION, Lists
from tests.support.towns import DAYS, FIRST, PEOPLE, scenes, town

KINDS = {SEARCHES: SEARCH, SUGGESTIONS: SUGGESTION}
TRUTH = {SEARCHES: "result_grade", SUGGESTIONS: "suggestion_grade"}


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return town()


@pytest.fixture(scope="module", params=KINDS)
def stream(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shown(source: SyntheticSource, stream: str) -> pl.DataFrame:
    return scenes(source, stream)


def test_a_day_is_the_same_in_another_process_and_other_days_differ(
    source: SyntheticSource, stream: str
) -> None:
    monday, next_monday = (scenes(source, stream, [day]) for day in (DAYS[0], DAYS[7]))
    assert scenes(town(), stream, [FIRST]).equals(monday)
    key = KINDS[stream].key
    assert set(monday[key]).isdisjoint(next_monday[key])
    assert monday["product_id"].to_list() != next_monday["product_id"].to_list()


def test_a_list_is_of_one_customer_and_time_and_has_each_product_once(
    stream: str, shown: pl.DataFrame
) -> None:
    kind = KINDS[stream]
    assert shown["time"].is_sorted()
    assert shown[kind.key].is_unique().all()
    lists = shown.group_by("list_id", maintain_order=True).agg(
        pl.col("customer_id", "time", "product_id").n_unique(), "position"
    )
    assert lists["customer_id"].max() == lists["time"].max() == 1
    assert lists["product_id"].min() == kind.length
    assert lists["position"].to_list() == [list(range(1, kind.length + 1))] * lists.height
    assert lists.height / (PEOPLE * len(DAYS)) == pytest.approx(kind.a_day, rel=0.1)


def test_popular_products_come_first_whether_they_appeal_or_not(shown: pl.DataFrame) -> None:
    often = shown["product_id"].value_counts()
    rows = shown.join(often, on="product_id")
    top, last = (rows.filter(position=position) for position in (1, rows["position"].max()))
    assert top["count"].mean() > 1.1 * last["count"].mean()
    assert top["relevance"].mean() == pytest.approx(last["relevance"].mean(), rel=0.15)


@pytest.mark.parametrize("backwards", [False, True])
def test_clicks_follow_attention_and_weights_take_it_out_of_any_order(
    stream: str, shown: pl.DataFrame, backwards: bool
) -> None:
    last = KINDS[stream].length + 1
    placed = shown.with_columns(position=last - pl.col("position")) if backwards else shown
    found = placed.select(
        "position",
        "relevance",
        label=truth(TRUTH[stream]),
        weight=weight(pl.col("position")),
    )
    looked = pl.Series(ATTENTION[found["position"].to_numpy() - 1])
    expected = (found["relevance"] * looked).sum()
    error = 3 * np.sqrt(found["label"].pow(2).sum())
    assert found["label"].sum() == pytest.approx(expected, abs=error)
    weighted = found["label"] * found["weight"]
    error = 3 * np.sqrt(weighted.pow(2).sum())
    assert weighted.sum() == pytest.approx(found["relevance"].sum(), abs=error)
    assert error < 0.15 * weighted.sum()


def test_a_wish_and_a_fitting_price_make_a_click_likely(stream: str, shown: pl.DataFrame) -> None:
    kind = KINDS[stream]
    high, low = (
        shown.filter(pl.col(kind.wish) > 0.7), shown.filter(pl.col(kind.wish) < 0.5)
    )  # fmt: skip
    assert high["relevance"].mean() > 1.5 * low["relevance"].mean()
    dear = shown["price"].quantile(0.95)
    assert dear is not None
    fits = pl.col("price") < dear
    by_price = dict(shown.group_by(fits).agg(pl.col("relevance").mean()).iter_rows())
    assert by_price[True] > 1.1 * by_price[False]


def test_what_is_likely_to_be_clicked_is_also_likely_to_be_bought(
    stream: str, shown: pl.DataFrame
) -> None:
    wished = pl.col(KINDS[stream].wish) > 0.7
    bought = dict(shown.group_by(wished).agg((pl.col("grade") == BOUGHT).mean()).iter_rows())
    assert bought[True] > 1.2 * bought[False]


def test_a_click_is_known_when_it_happens_and_no_click_after_half_an_hour(
    shown: pl.DataFrame,
) -> None:
    clicked = pl.col("seen_until") > 0
    half_an_hour = 1 / 48
    waited = shown.group_by(clicked).agg(
        pl.col("known_days").median().alias("median"), pl.col("known_days").min().alias("least")
    )
    (without,) = waited.filter(~clicked).to_dicts()
    assert without["least"] == pytest.approx(half_an_hour)
    (with_click,) = waited.filter(clicked).to_dicts()
    assert with_click["median"] == pytest.approx(3 / 1440, rel=0.15)


def test_customers_with_larger_means_prefer_dearer_products(
    source: SyntheticSource, stream: str
) -> None:
    town_lists = cast("Lists", source.scenes[stream])
    product, price, wish = np.array([0, 0]), np.array([8.0, 150.0]), np.array([0.5, 0.5])
    poor = town_lists.logit(product, price, wish, np.array([8.0, 8.0]))
    rich = town_lists.logit(product, price, wish, np.array([150.0, 150.0]))
    assert poor[0] > poor[1]
    assert rich[1] > rich[0]


def test_history_weighs_a_label_by_the_position_in_the_shops_own_order(
    source: SyntheticSource, stream: str
) -> None:
    delay = LabelDelay(distribution="lognormal", median="29m", sigma=0.02, maximum="30m")
    label = Label(event=stream, truth=TRUTH[stream], delay=delay)
    known = outcome_history(WorldDays(source, {"m": label}, seed=5, first=FIRST).outcomes(FIRST))
    shown = scenes(source, stream, [FIRST]).select(
        pl.col(KINDS[stream].key).alias("request_id"), "position"
    )
    found = known.join(shown, on="request_id", validate="1:1")
    assert found.height > 0.9 * shown.height
    assert found["weight"].to_list() == pytest.approx((found["position"] ** 0.6).to_list())
