"""The world's members: who gets a statement, who cancels, and what they spend."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from dojo.core.lake import start_of
from dojo.core.spec.schema import Label, LabelDelay
from dojo.shop.events import MEMBERSHIPS, ORDERS
from dojo.stats.scores.classification import roc_auc
from services.simulator.days import WorldDays
from services.simulator.sources.synthetic import SyntheticSource
from tests.support.towns import FIRST, scenes, town

DAYS = [FIRST + timedelta(days=n) for n in range(62)]
MONTH = timedelta(days=30)
PEOPLE = 1200


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return town(PEOPLE)


@pytest.fixture(scope="module")
def statements(source: SyntheticSource) -> pl.DataFrame:
    return scenes(source, MEMBERSHIPS, DAYS)


def auc(rows: pl.DataFrame, scores: pl.Series) -> float:
    return roc_auc(rows["cancelled"].to_numpy().astype(np.float64), scores.to_numpy())


def test_a_day_is_the_same_in_another_process_and_whatever_was_asked_before(
    source: SyntheticSource, statements: pl.DataFrame
) -> None:
    day = DAYS[40]
    alone = scenes(town(PEOPLE), MEMBERSHIPS, [day])
    assert alone.equals(statements.filter(pl.col("time").dt.date() == day))
    assert alone.height > 20


def test_a_member_gets_one_statement_in_thirty_days(statements: pl.DataFrame) -> None:
    assert statements["time"].is_sorted()
    assert statements["membership_id"].is_unique().all()
    gaps = (
        statements.sort("customer_id", "time")
        .with_columns(days=pl.col("time").dt.date().diff().over("customer_id").dt.total_days())
        .drop_nulls("days")["days"]
    )
    assert set(gaps) == {30, 60}
    assert 0.75 < statements.height / len(DAYS) / (PEOPLE / 30) < 0.95


def test_who_cancels_gets_no_next_statement_and_comes_back(statements: pl.DataFrame) -> None:
    by_month = [
        statements.filter(pl.col("time").dt.date().is_between(start, start + MONTH, closed="left"))
        for start in (FIRST, FIRST + MONTH)
    ]
    next_month = by_month[1]["customer_id"]
    stays = by_month[0].with_columns(stays=pl.col("customer_id").is_in(next_month.implode()))
    kept = dict(stays.group_by("cancelled").agg(pl.col("stays").mean()).iter_rows())
    assert kept[1] == 0
    assert kept[0] > 0.95, "some renew and then leave the town"
    new = next_month.is_in(by_month[0]["customer_id"].implode()).not_().mean()
    assert new > 0.05
    assert abs(by_month[1].height / by_month[0].height - 1) < 0.1, "the town is stationary"


def test_cancellations_follow_their_chance_and_a_chance_of_others_has_no_skill(
    statements: pl.DataFrame,
) -> None:
    rate, chance = statements["cancelled"].mean(), statements["cancel_chance"].mean()
    assert isinstance(rate, float)
    assert rate == pytest.approx(chance, abs=4 * np.sqrt(rate / statements.height))
    assert 0.08 < rate < 0.25
    assert auc(statements, statements["cancel_chance"]) > 0.72
    mixed = statements["cancel_chance"].shuffle(seed=1)
    assert auc(statements, mixed) == pytest.approx(0.5, abs=0.05)


def test_late_parcels_and_few_orders_make_members_cancel(
    source: SyntheticSource, statements: pl.DataFrame
) -> None:
    """From the town's orders alone, without the chance."""
    earliest = FIRST - MONTH
    days = [earliest + timedelta(days=n) for n in range(len(DAYS) + 30)]
    orders = scenes(source, ORDERS, days).select(
        "customer_id", "delivery_days", ordered=pl.col("time")
    )
    midnight = pl.col("time").dt.truncate("1d")
    before = orders.join(statements, on="customer_id").filter(
        pl.col("ordered") >= midnight - MONTH, pl.col("ordered") < midnight
    )
    arrived = pl.col("ordered") + pl.duration(seconds=pl.col("delivery_days") * 86_400) < midnight
    month = before.group_by("membership_id").agg(
        pl.len().alias("orders"), late=((pl.col("delivery_days") > 6) & arrived).sum()
    )
    rows = statements.join(month, on="membership_id", how="left").fill_null(0)
    # Customers who order as much as each other, with and without late parcels.
    usual = rows.filter(pl.col("orders").is_between(15, 35))
    rates = dict(usual.group_by(pl.col("late") >= 2).agg(pl.col("cancelled").mean()).iter_rows())
    assert rates[True] > 1.8 * rates[False]
    calm = rows.filter(late=0)
    rates = dict(calm.group_by(pl.col("orders") < 12).agg(pl.col("cancelled").mean()).iter_rows())
    assert rates[True] > 1.5 * rates[False]
    paid = pl.concat(source.day(day) for day in days).select(
        "customer_id", "amount", paid=pl.col("time")
    )
    spent = (
        paid.join(statements, on="customer_id")
        .filter(pl.col("paid") >= midnight - MONTH, pl.col("paid") < midnight)
        .group_by("membership_id")
        .agg(pl.col("amount").sum().alias("spent"))
    )
    alike = calm.join(spent, on="membership_id").filter(pl.col("spent").is_between(500, 2000))
    rates = dict(alike.group_by(pl.col("orders") < 12).agg(pl.col("cancelled").mean()).iter_rows())
    assert rates[True] > 1.2 * rates[False], "of members who spend as much as each other"


def test_what_a_member_spends_is_the_sum_of_the_towns_honest_payments(
    source: SyntheticSource, statements: pl.DataFrame
) -> None:
    rows = statements.filter(pl.col("time").dt.date() == FIRST)
    ahead = pl.concat([source.day(FIRST + timedelta(days=n)) for n in range(1, 31)])
    sums = dict(
        ahead.filter(label=0).group_by("customer_id").agg(pl.col("amount").sum()).iter_rows()
    )
    found = dict(rows.select("customer_id", "spent_30d").iter_rows())
    assert found == pytest.approx({customer: sums.get(customer, 0.0) for customer in found})
    spent, usual = statements["spent_30d"].to_numpy(), statements["usual_spend"].to_numpy()
    assert np.mean(spent > usual) == pytest.approx(0.5, abs=0.04), "half spend more than the guess"
    tail = np.quantile(spent, 0.99) / np.median(spent)
    assert tail > 5, "few spend many times as much as the usual member"
    off, without = np.abs(spent - usual).mean(), np.abs(spent - np.median(spent)).mean()
    assert off < 0.35 * without


def test_a_new_inhabitant_without_any_payment_has_a_chance_and_no_spending(
    source: SyntheticSource, statements: pl.DataFrame
) -> None:
    new = statements.filter(pl.col("member_days") < 2)
    assert new.height > 0
    assert new["cancel_chance"].is_between(0.01, 0.999).all()
    assert statements["usual_spend"].is_finite().all()
    assert statements["spent_30d"].min() >= 0  # type: ignore[operator]


def test_each_label_becomes_known_when_the_world_says(source: SyntheticSource) -> None:
    delay = LabelDelay(distribution="lognormal", median="708h", sigma=0.02, maximum="31d")
    labels = {
        name: Label(event=MEMBERSHIPS, truth=name, delay=delay)
        for name in ("cancelled", "spent_30d")
    }
    world = WorldDays(source, labels, seed=5, first=FIRST)
    first = world.events(MEMBERSHIPS, FIRST)
    known = pl.concat([world.outcomes(FIRST + timedelta(days=n)) for n in range(33)])
    known = known.join(first, left_on="request_id", right_on="membership_id")
    known = known.with_columns(days=(pl.col("arrival") - pl.col("time")) / timedelta(days=1))
    assert known.height == 2 * first.height
    decisions, sums = (known.filter(model=name) for name in labels)
    assert decisions.filter(label=0)["days"].to_numpy() == pytest.approx(30)
    assert decisions.filter(label=1)["days"].is_between(1, 29).all()
    midnight = start_of(FIRST + timedelta(days=31))
    arrivals = sums["arrival"].dt.round("1s").unique().to_list()
    assert arrivals == [midnight], "when all of its payments have been made"
