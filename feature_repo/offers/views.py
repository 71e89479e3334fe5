"""Sources of offers, the view of what products sold, and the request for a price."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from dojo.shop.events import OFFERS as STREAM
from feature_repo.clock import weekday
from feature_repo.products import CATEGORY
from feature_repo.services import Choose, RequestFeatures, choose_scalar
from feature_repo.views import DAILY_SLA, BatchView, EventSource, Feature, labels_of

OWNER = "pricing"

WEEK_DAYS, WINDOW_DAYS = 7, 28  # whole weeks, because weekdays differ

OFFERS = EventSource(
    stream=STREAM,
    key="offer_id",
    columns=("offer_id", "product_id", "world_time", "price", "regular_price", "category"),
)

# A day's units are known 25 hours after its beginning at the latest.
UNITS = labels_of("demand", settled_after=timedelta(days=2))


def _units(days: int) -> Feature:
    return Feature(
        f"product_units_{days}d",
        "units",
        f"Mean units that the product sold on a day, of the {days} days that ended two days before"
        " midnight. 0 without any.",
    )


PRODUCT_OFFERS = BatchView(
    name="product_offers",
    entity="product",
    owner=OWNER,
    sources=(OFFERS, UNITS),
    compute="feature_repo.offers.offer_days:product_offers",
    # A product without an offer for this long gets one last row of zeros, as an unknown one.
    reach=UNITS.settled_after + timedelta(days=WINDOW_DAYS + 1),
    freshness_sla=DAILY_SLA,
    pii=False,
    description="What a product sold on a day and at which prices, as of midnight.",
    features=(
        _units(WEEK_DAYS),
        _units(WINDOW_DAYS),
        Feature(
            f"product_price_level_{WINDOW_DAYS}d",
            "ratio",
            f"Mean price behind `product_units_{WINDOW_DAYS}d` against the regular one. 0 without"
            " any.",
        ),
    ),
)


def compute(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return OFFER's features by name, in their order.

    Raises:
        KeyError: An input is missing.
    """
    price, regular = inputs["price"], inputs["regular_price"]
    return {
        "regular_price": regular,
        "price_level": choose(regular > 0, price / (regular + 1e-9), 1.0),
        "category": inputs["category"],
        "offer_weekday": weekday(inputs["offer_time"]),
    }


# A product above 100,000 euro is a unit mistake here.
PRICE = Feature("price", "euro", "Price of the offer.", bounds=(0, 100_000))
REGULAR = Feature("regular_price", "euro", "Regular price of the product.", bounds=(0, 100_000))

OFFER = RequestFeatures(
    name="offer",
    inputs=(PRICE, REGULAR, CATEGORY),
    time_input="offer_time",
    recorded=OFFERS,
    features=(
        REGULAR,
        Feature("price_level", "ratio", "Price against the regular one; 1 without a regular one."),
        CATEGORY,
        Feature("offer_weekday", "weekday", "Weekday on which the offer begins, UTC."),
    ),
    compute=compute,
)
