"""Sources of searches, the view of products in them, and the request for a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dojo.shop.events import SEARCHES as STREAM
from feature_repo.list_views import REACH, SETTLED_AFTER, features_of_lists
from feature_repo.services import Choose, RequestFeatures, choose_scalar
from feature_repo.views import DAILY_SLA, BatchView, EventSource, Feature, labels_of

OWNER = "search"

RESULTS = EventSource(
    stream=STREAM,
    key="result_id",
    columns=("result_id", "customer_id", "product_id", "world_time", "price", "match", "position"),
)

GRADES = labels_of("search_ranking", settled_after=SETTLED_AFTER)

PRODUCT_SEARCHES = BatchView(
    name="product_searches",
    entity="product",
    owner=OWNER,
    sources=(RESULTS, GRADES),
    compute="feature_repo.searches.search_days:product_searches",
    reach=REACH,
    freshness_sla=DAILY_SLA,
    pii=False,
    description="How often searches show a product, and how it does there, as of midnight.",
    features=features_of_lists(STREAM),
)


def compute(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return RESULT's features by name, in their order.

    Raises:
        KeyError: An input is missing.
    """
    price, usual = inputs["price"], inputs["customer_amount_mean_30d"]
    return {
        "match": inputs["match"],
        "result_price": price,
        "result_price_to_usual": choose(usual > 0, price / (usual + 1.0), 1.0),
    }


# A product above 100,000 euro is a unit mistake here.
PRICE = Feature("price", "euro", "Price of the product.", bounds=(0, 100_000))
MATCH = Feature("match", "fraction", "Match of the product with the words.", bounds=(0, 1))

RESULT = RequestFeatures(
    name="result",
    inputs=(MATCH, PRICE),
    time_input="search_time",
    recorded=RESULTS,
    stored=("customer_amount_mean_30d",),
    features=(
        MATCH,
        Feature("result_price", "euro", "Price of the result."),
        Feature(
            "result_price_to_usual",
            "ratio",
            "Price against the customer's mean payment of 30 days; 1 without history.",
        ),
    ),
    compute=compute,
)
