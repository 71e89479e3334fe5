"""Sources of suggestions, the view of products in them, and the request for a suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dojo.shop.events import SUGGESTIONS as STREAM
from feature_repo.list_views import REACH, SETTLED_AFTER, features_of_lists
from feature_repo.services import Choose, RequestFeatures, choose_scalar
from feature_repo.views import DAILY_SLA, BatchView, EventSource, Feature, labels_of

OWNER = "discovery"

SUGGESTIONS = EventSource(
    stream=STREAM,
    key="suggestion_id",
    columns=(
        "suggestion_id",
        "customer_id",
        "product_id",
        "world_time",
        "price",
        "interest",
        "position",
    ),
)

GRADES = labels_of("recommendation", settled_after=SETTLED_AFTER)

PRODUCT_SUGGESTIONS = BatchView(
    name="product_suggestions",
    entity="product",
    owner=OWNER,
    sources=(SUGGESTIONS, GRADES),
    compute="feature_repo.suggestions.suggestion_days:product_suggestions",
    reach=REACH,
    freshness_sla=DAILY_SLA,
    pii=False,
    description="How often a product is suggested, and how it does there, as of midnight.",
    features=features_of_lists(STREAM),
)


def compute(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return SUGGESTION's features by name, in their order.

    Raises:
        KeyError: An input is missing.
    """
    price, usual = inputs["price"], inputs["customer_amount_mean_30d"]
    return {
        "interest": inputs["interest"],
        "suggested_price": price,
        "suggested_price_to_usual": choose(usual > 0, price / (usual + 1.0), 1.0),
    }


# A product above 100,000 euro is a unit mistake here.
PRICE = Feature("price", "euro", "Price of the product.", bounds=(0, 100_000))
INTEREST = Feature(
    "interest", "0 or 1", "The customer has named the product's kind.", bounds=(0, 1)
)

SUGGESTION = RequestFeatures(
    name="suggestion",
    inputs=(INTEREST, PRICE),
    time_input="visit_time",
    recorded=SUGGESTIONS,
    stored=("customer_amount_mean_30d",),
    features=(
        INTEREST,
        Feature("suggested_price", "euro", "Price of the suggested product."),
        Feature(
            "suggested_price_to_usual",
            "ratio",
            "Price against the customer's mean payment of 30 days; 1 without history.",
        ),
    ),
    compute=compute,
)
