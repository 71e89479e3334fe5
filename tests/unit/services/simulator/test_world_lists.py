"""The world's lists of products: what is in them, and what a position changes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dojo.shop.events import SEARCHES, SUGGESTIONS
from dojo.shop.lists import ATTENTION, weight
from dojo.shop.truths import truth
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.town.lists import SEARCH, SUGGESTION
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
