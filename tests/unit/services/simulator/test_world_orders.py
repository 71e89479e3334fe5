"""The world's orders: what they have in common with each other and with the payments."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import polars as pl
import pytest

from dojo.core.lake import start_of
from dojo.core.spec.read import SpecError
from dojo.core.spec.schema import Label, LabelDelay
from dojo.core.tasks.specs import load_spec
from dojo.shop.events import ORDERS, TRANSACTIONS, Order
from dojo.shop.world_drift import new_drift
from services.simulator.days import WorldDays
from services.simulator.drift.drifted_days import NEW_CARRIER
from services.simulator.events import event_history, events_of
from services.simulator.opening import check_asked
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.town.ids import customer_id, seats
from services.simulator.town.orders import CARRIERS
from tests.support.towns import DAYS, FIRST, assert_each_row_follows_from_its_payment, scenes, town

DELIVERY = Label(
    event=ORDERS,
    truth="delivery_days",
    delay=LabelDelay(distribution="lognormal", median="78h", sigma=0.45, maximum="14d"),
)
RETURN = Label(
    event=ORDERS,
    truth="returned",
    delay=LabelDelay(distribution="lognormal", median="708h", sigma=0.02, maximum="30d"),
)
LABELS = {"delivery_time": DELIVERY, "return_risk": RETURN}


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return town()


@pytest.fixture(scope="module")
def orders(source: SyntheticSource) -> pl.DataFrame:
    return scenes(source, ORDERS)


def test_a_day_is_the_same_in_another_process_and_for_another_set_of_payments(
    source: SyntheticSource,
) -> None:
    assert_each_row_follows_from_its_payment(source, ORDERS, "order_id")


def test_orders_are_payments_of_the_same_customers_at_the_same_time(
    source: SyntheticSource, orders: pl.DataFrame
) -> None:
    assert orders["time"].is_sorted()
    assert orders["order_id"].is_unique().all()
    paid = pl.concat([source.day(day) for day in DAYS])
    share = orders.height / paid.height
    assert 0.38 < share < 0.42
    theirs = paid.select("customer_id", "time", order_id="O" + pl.col("transaction_id"))
    joined = orders.join(theirs, on=["order_id", "customer_id", "time"], how="inner")
    assert joined.height == orders.height


def test_the_seat_of_a_customer_is_found_in_a_town_of_any_size() -> None:
    names = pl.DataFrame({"seat": [12, 99_999, 123_456], "generation": [0, 7, 31]})
    customers = names.select(customer_id("seat", "generation").alias("id"))["id"]
    assert customers.to_list() == ["C00012-0", "C99999-7", "C123456-31"]
    assert seats(customers).tolist() == [12, 99_999, 123_456]


def test_a_recorded_world_refuses_models_of_events_that_it_does_not_have(
    source: SyntheticSource,
) -> None:
    banner = load_spec(Path("models/banner.yaml"))
    recorded = SimpleNamespace(scenes={})
    with pytest.raises(SpecError, match=r"banner: label\.event: a recorded world has no banners"):
        check_asked(banner, recorded)  # type: ignore[arg-type]
    payments = load_spec(Path("models/fraud_detection.yaml"))
    check_asked(payments, recorded)  # type: ignore[arg-type]
    misnamed = payments.model_copy(
        update={"label": payments.label.model_copy(update={"truth": "guilt"})}
    )
    with pytest.raises(SpecError, match=r"label\.truth: guilt is not one of"):
        check_asked(misnamed, source)


def test_express_and_distance_decide_the_time_to_the_door_and_weekends_add_to_it(
    orders: pl.DataFrame,
) -> None:
    mean = pl.col("delivery_days").mean()
    by_express = dict(orders.group_by("express").agg(mean).iter_rows())
    assert by_express[1.0] < 0.7 * by_express[0.0]
    near, far = (
        orders.filter(pl.col("express") == 0, condition).select(mean).item()
        for condition in (pl.col("distance_km") < 50, pl.col("distance_km") > 150)
    )
    assert far > near + 0.5
    by_weekday = dict(orders.group_by(pl.col("time").dt.weekday()).agg(mean).iter_rows())
    assert min(by_weekday[6], by_weekday[7]) > 1.1 * max(by_weekday[day] for day in range(1, 6))
    assert orders["delivery_days"].max() <= 14


def test_what_comes_back_depends_on_the_product_and_the_customer(orders: pl.DataFrame) -> None:
    assert 0.05 < orders["returned"].mean() < 0.12
    assert _variance_beyond_chance(orders, "product_id") > 0.02
    assert _variance_beyond_chance(orders, "customer_id") > 0.001


def _variance_beyond_chance(orders: pl.DataFrame, key: str) -> float:
    """How much the return rates of products or customers differ beyond coin tosses."""
    rates = orders.group_by(key).agg(n=pl.len(), rate=pl.col("returned").mean())
    rates = rates.filter(pl.col("n") >= 10)
    mean = float(orders["returned"].mean())
    chance = mean * (1 - mean) / rates["n"].to_numpy()
    return float(np.mean((rates["rate"].to_numpy() - mean) ** 2 - chance))


def test_each_label_becomes_known_when_the_world_says(source: SyntheticSource) -> None:
    world = WorldDays(source, LABELS, seed=5, first=FIRST)
    assert world.streams == (TRANSACTIONS, ORDERS)
    first = world.events(ORDERS, FIRST)
    known = pl.concat([world.outcomes(FIRST + timedelta(days=n)) for n in range(32)])
    for model, hidden in (("delivery_time", "delivery_days"), ("return_risk", "settled_days")):
        own = known.filter(pl.col("model") == model).join(
            first, left_on="request_id", right_on="order_id"
        )
        assert own.height == first.height, "each order of the first day, once"
        took = (own["arrival"] - own["time"]).dt.total_seconds() / 86_400
        assert np.allclose(took.to_numpy(), own[hidden].to_numpy(), atol=1e-4)
    assert known["arrival"].is_sorted()


def test_an_order_is_the_same_as_an_event_and_in_the_lake(orders: pl.DataFrame) -> None:
    rows = orders.head(50)
    events = events_of(ORDERS, rows, rows["time"][0])
    lake = event_history(ORDERS, rows)
    for event, row in zip(events, lake.to_dicts(), strict=True):
        assert isinstance(event, Order)
        plain = msgspec.to_builtins(event, builtin_types=(type(event.world_time),))
        del row["wall_time"], plain["wall_time"], plain["schema_version"]
        assert plain == row


def test_each_carrier_has_its_share_and_its_speed(orders: pl.DataFrame) -> None:
    slow = orders.filter(pl.col("express") == 0)
    found = dict(slow.group_by("carrier").agg(pl.col("delivery_days").mean()).iter_rows())
    assert found["post"] > found["parcelline"] > found["swift"]
    shares = dict(orders["carrier"].value_counts(normalize=True).iter_rows())
    assert shares == pytest.approx({name: of for name, (of, _) in CARRIERS.items()}, abs=0.02)
    back = dict(orders.group_by("category").agg(pl.col("returned").mean()).iter_rows())
    assert back["clothing"] > back["electronics"] > back["grocery"]


def test_a_new_carrier_takes_its_share_from_its_begin_on_and_changes_nothing_else(
    source: SyntheticSource,
) -> None:
    noon = start_of(FIRST) + timedelta(hours=12)
    quiet, changed = (
        WorldDays(source, LABELS, 3, FIRST, drifts).events(ORDERS, FIRST)
        for drifts in ((), (new_drift("new_carrier", noon, 0.4),))
    )
    flies = pl.col("carrier") == NEW_CARRIER
    assert not quiet.filter(flies).height
    before, after = pl.col("time") < noon, pl.col("time") >= noon
    assert changed.filter(before).equals(quiet.filter(before))
    later = changed.filter(after)
    assert 0.3 < later.filter(flies).height / later.height < 0.5
    both = later.join(quiet, on="order_id", suffix="_quiet")
    same = both.filter(~flies).select(pl.col("delivery_days") == pl.col("delivery_days_quiet"))
    assert same.to_series().all()
    flown = both.filter(flies)
    assert flown["delivery_days"].sum() == pytest.approx(flown["delivery_days_quiet"].sum() / 2)
    assert both["returned"].equals(both["returned_quiet"])
    decided = {"carrier", "delivery_days", "usual_days", "arrival_delivery_time"}
    kept = [name for name in quiet.columns if name not in decided]
    assert changed.select(kept).equals(quiet.select(kept))
