"""Features computed in a request, for one request and for columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.banners.views import SLOT
from feature_repo.banners.views import compute as slot
from feature_repo.clock import HOUR, seconds_of_day, weekday
from feature_repo.credits.views import APPLICATION, application
from feature_repo.memberships.events import STATEMENT, at_statement
from feature_repo.offers.views import OFFER
from feature_repo.offers.views import compute as offer
from feature_repo.orders.requests import DELIVERY, PURCHASE, promise, purchase
from feature_repo.searches.views import RESULT
from feature_repo.searches.views import compute as result
from feature_repo.services import RequestFeatures
from feature_repo.suggestions.views import SUGGESTION
from feature_repo.suggestions.views import compute as suggestion

SATURDAY = datetime(2025, 1, 4, 14, 59, 59, tzinfo=UTC).timestamp()
SUNDAY = datetime(2025, 1, 5, 15, tzinfo=UTC).timestamp()
MONDAY = datetime(2025, 1, 6, 23, 59, tzinfo=UTC).timestamp()


@given(st.integers(0, 7_000_000_000))
def test_hours_and_weekdays_are_those_of_the_calendar(now: int) -> None:
    moment = datetime.fromtimestamp(now, UTC)
    assert weekday(now) == moment.weekday()
    assert seconds_of_day(now) // HOUR == moment.hour


@pytest.mark.parametrize(
    ("now", "late", "saturday", "sunday"),
    [(SATURDAY, 0.0, 1.0, 0.0), (SUNDAY, 1.0, 0.0, 1.0), (MONDAY, 1.0, 0.0, 0.0)],
)
def test_an_order_after_the_cut_off_or_on_a_weekend_is_known(
    now: float, late: float, saturday: float, sunday: float
) -> None:
    assert promise({"order_time": now, "express": 1.0, "distance_km": 7.5, "carrier": 9.0}) == {
        "express": 1.0,
        "distance_km": 7.5,
        "carrier": 9.0,
        "ordered_after_cutoff": late,
        "ordered_on_saturday": saturday,
        "ordered_on_sunday": sunday,
    }


def test_a_price_is_compared_with_the_products_usual_one_or_1_without_any() -> None:
    asked = {"price": 42.0, "express": 0.0, "category": 9.0, "order_time": MONDAY}
    usual = purchase({**asked, "product_price_mean": 20.0})
    assert usual == {
        "price": 42.0,
        "express": 0.0,
        "category": 9.0,
        "price_to_product_mean": 2.0,
    }
    assert purchase({**asked, "product_price_mean": 0.0})["price_to_product_mean"] == 1.0


@pytest.mark.parametrize(
    ("now", "hour", "weekend"), [(SATURDAY, 14.0, 1.0), (SUNDAY, 15.0, 1.0), (MONDAY, 23.0, 0.0)]
)
def test_a_visit_has_its_hour_and_its_kind_of_day(now: float, hour: float, weekend: float) -> None:
    assert slot({"visit_time": now}) == {"visit_hour": hour, "visit_on_weekend": weekend}


def test_a_credit_is_compared_with_habits_and_an_unknown_customer_or_no_amount_is_answered() -> (
    None
):
    asked = {"amount": 90.0, "parts": 3.0, "account_days": 12.0, "application_time": SATURDAY}
    known = {
        "customer_amount_mean_30d": 29.0,
        "customer_tx_count_30d": 39.0,
        "customer_credits_30d": 8.0,
    }
    found = application({**asked, **known})
    assert found["credit_to_usual"] == 3.0
    assert found["credit_share_30d"] == 0.2
    assert found["asked_at_night"] == 0.0
    stranger = application({**asked, **dict.fromkeys(known, 0.0)})
    assert (stranger["credit_to_usual"], stranger["credit_share_30d"]) == (1.0, 0.0)
    assert application({**asked, **known, "amount": 0.0})["credit_to_usual"] == 0.0


@pytest.mark.parametrize(
    ("compute", "wish", "ratio"),
    [
        (result, "match", "result_price_to_usual"),
        (suggestion, "interest", "suggested_price_to_usual"),
    ],
)
def test_a_price_in_a_list_is_compared_with_the_customers_means_or_1_for_a_stranger(
    compute: Callable[..., dict[str, Any]], wish: str, ratio: str
) -> None:
    asked = {wish: 1.0, "price": 60.0, "customer_amount_mean_30d": 29.0}
    assert compute(asked)[ratio] == 2.0
    assert compute({**asked, "customer_amount_mean_30d": 0.0})[ratio] == 1.0
    assert compute({**asked, "price": 0.0})[ratio] == 0.0


def test_an_offer_has_its_level_or_1_without_a_regular_price() -> None:
    asked = {"price": 9.0, "regular_price": 10.0, "category": 3.0, "offer_time": SATURDAY}
    found = offer(asked)
    assert found["price_level"] == pytest.approx(0.9)
    assert (found["category"], found["offer_weekday"]) == (3.0, 5.0)
    assert offer({**asked, "price": 0.0})["price_level"] == 0.0
    assert offer({**asked, "regular_price": 0.0})["price_level"] == 1.0


@pytest.mark.parametrize(
    ("request_features", "compute"),
    [
        (DELIVERY, promise),
        (PURCHASE, purchase),
        (SLOT, slot),
        (APPLICATION, application),
        (STATEMENT, at_statement),
        (RESULT, result),
        (SUGGESTION, suggestion),
        (OFFER, offer),
    ],
)
def test_columns_give_what_each_request_gives_and_every_described_feature(
    request_features: RequestFeatures, compute: Callable[..., dict[str, Any]]
) -> None:
    times = np.array([SATURDAY, SUNDAY, MONDAY])
    columns = {
        name: times if name == request_features.time_input else np.array([0.0, 1.0, 20.0])
        for name in request_features.needed
    }
    found = compute(columns, choose=np.where)
    assert list(found) == [feature.name for feature in request_features.features]
    for row in range(len(times)):
        one = compute({name: float(values[row]) for name, values in columns.items()})
        assert {name: float(values[row]) for name, values in found.items()} == one
