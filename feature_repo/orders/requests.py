"""Features of an order, computed in the request from the caller's inputs and stored values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feature_repo.clock import HOUR, SATURDAY, SUNDAY, seconds_of_day, weekday
from feature_repo.orders.events import ORDERS
from feature_repo.products import CATEGORY
from feature_repo.services import Choose, RequestFeatures, choose_scalar
from feature_repo.views import CATEGORY_UNIT, Feature

# A parcel that is ordered later leaves on the next working day.
CUTOFF_HOUR = 15


def promise(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return DELIVERY's features by name, in their order.

    Raises:
        KeyError: An input is missing.
    """
    now = inputs["order_time"]
    day = weekday(now)
    return {
        "express": inputs["express"],
        "distance_km": inputs["distance_km"],
        "carrier": inputs["carrier"],
        "ordered_after_cutoff": choose(seconds_of_day(now) >= CUTOFF_HOUR * HOUR, 1.0, 0.0),
        "ordered_on_saturday": choose(day == SATURDAY, 1.0, 0.0),
        "ordered_on_sunday": choose(day == SUNDAY, 1.0, 0.0),
    }


def purchase(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return PURCHASE's features by name, in their order.

    Raises:
        KeyError: An input is missing.
    """
    price, usual = inputs["price"], inputs["product_price_mean"]
    return {
        "price": price,
        "express": inputs["express"],
        "category": inputs["category"],
        "price_to_product_mean": choose(usual > 0, price / (usual + 1.0), 1.0),
    }


# An order above a million is a unit mistake, not a purchase.
PRICE = Feature("price", "euro", "Price of the order.", bounds=(0, 1e6))
EXPRESS = Feature("express", "0 or 1", "The customer pays for a quick delivery.", bounds=(0, 1))
# Half the earth's circumference. Metres for kilometres would exceed it.
DISTANCE = Feature("distance_km", "km", "From the merchant to the customer.", bounds=(0, 20_000))
CARRIER = Feature("carrier", CATEGORY_UNIT, "Who brings the parcel.")

DELIVERY = RequestFeatures(
    name="delivery",
    inputs=(EXPRESS, DISTANCE, CARRIER),
    time_input="order_time",
    recorded=ORDERS,
    features=(
        EXPRESS,
        DISTANCE,
        CARRIER,
        Feature(
            "ordered_after_cutoff", "0 or 1", f"The order is placed from {CUTOFF_HOUR}:00 UTC on."
        ),
        Feature("ordered_on_saturday", "0 or 1", "The order is placed on a Saturday, UTC."),
        Feature("ordered_on_sunday", "0 or 1", "The order is placed on a Sunday, UTC."),
    ),
    compute=promise,
)

PURCHASE = RequestFeatures(
    name="purchase",
    inputs=(PRICE, EXPRESS, CATEGORY),
    time_input="order_time",
    recorded=ORDERS,
    stored=("product_price_mean",),
    features=(
        PRICE,
        EXPRESS,
        CATEGORY,
        Feature(
            "price_to_product_mean",
            "ratio",
            "Price against the product's mean price of 30 days; 1 without history.",
        ),
    ),
    compute=purchase,
)
