"""The world's credits: who pays later, who does not pay, and what an audit knows of their age."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from dojo.core.spec.schema import Label, LabelDelay
from dojo.shop.events import CREDITS
from services.simulator.days import WorldDays
from services.simulator.sources.synthetic import SyntheticSource
from tests.support.towns import DAYS, FIRST, assert_each_row_follows_from_its_payment, scenes, town

DEFAULT = Label(
    event=CREDITS,
    truth="defaulted",
    delay=LabelDelay(distribution="lognormal", median="59d", sigma=0.02, maximum="60d"),
)


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return town()


@pytest.fixture(scope="module")
def credit(source: SyntheticSource) -> pl.DataFrame:
    return scenes(source, CREDITS)


def test_a_day_is_the_same_in_another_process_and_for_another_set_of_payments(
    source: SyntheticSource,
) -> None:
    assert_each_row_follows_from_its_payment(source, CREDITS, "credit_id")


def test_credits_are_payments_of_the_same_customers_and_amounts(
    source: SyntheticSource, credit: pl.DataFrame
) -> None:
    assert credit["time"].is_sorted()
    paid = pl.concat([source.day(day) for day in DAYS])
    same = paid.select(
        "customer_id", "merchant_id", "time", "amount", credit_id="L" + pl.col("transaction_id")
    )
    assert credit.join(same, on=same.columns, how="semi").height == credit.height
    assert 0.08 < credit.height / paid.height < 0.14
    assert credit["amount"].min() >= 20


def test_defaults_follow_their_chance_which_a_lender_can_partly_see(credit: pl.DataFrame) -> None:
    rate, chance = credit["defaulted"].mean(), credit["default_chance"].mean()
    error = np.sqrt(chance * (1 - chance) / credit.height)
    assert rate == pytest.approx(chance, abs=4 * error)
    assert 0.04 < rate < 0.10
    new = dict(
        credit.group_by(pl.col("account_days") < 90).agg(pl.col("default_chance").mean()).rows()
    )
    assert new[True] > 1.5 * new[False]
    night = dict(
        credit.group_by(pl.col("time").dt.hour() < 6).agg(pl.col("default_chance").mean()).rows()
    )
    assert night[True] > 1.3 * night[False]


def test_the_age_group_is_for_life_and_only_goes_with_what_customers_spend(
    credit: pl.DataFrame,
) -> None:
    each = credit.group_by("customer_id").agg(pl.col("age_group").n_unique().alias("groups"))
    assert each["groups"].max() == 1
    people = credit.unique("customer_id")
    shares = dict(people["age_group"].value_counts(normalize=True).iter_rows())
    assert 0.01 < shares[""] < 0.06, "some do not say"
    assert all(shares[group] > 0.15 for group in ("18-29", "30-44", "45-59", "60+"))
    groups = credit.group_by("age_group").agg(pl.col("amount", "default_chance").mean())
    by_age = {row["age_group"]: row for row in groups.to_dicts()}
    assert by_age["60+"]["amount"] > 1.2 * by_age["18-29"]["amount"]
    assert by_age["18-29"]["default_chance"] > 1.1 * by_age["60+"]["default_chance"]


def test_a_default_is_known_when_a_part_is_missed_and_all_is_known_after_60_days(
    source: SyntheticSource,
) -> None:
    world = WorldDays(source, {"pay_later": DEFAULT}, seed=5, first=FIRST)
    first = world.events(CREDITS, FIRST)
    known = pl.concat([world.outcomes(FIRST + timedelta(days=n)) for n in range(62)])
    own = known.join(first, left_on="request_id", right_on="credit_id")
    assert own.height == first.height, "each credit of the first day, once"
    took = own.with_columns(took=(pl.col("arrival") - pl.col("time")).dt.total_seconds() / 86_400)
    assert np.allclose(took["took"].to_numpy(), took["repaid_days"].to_numpy(), atol=1e-4)
    bad = took.filter(label=1.0)["took"]
    assert set(bad.round(1)) <= {37.0, 60.0}
    assert 0.25 < (took.filter(label=0.0)["took"] < 59.9).mean() < 0.45, "some repay early"
