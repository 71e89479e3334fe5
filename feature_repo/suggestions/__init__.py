"""The features of suggestions: how well a product does in them, and how it sells.

`views` holds the sources, the stored features and the request, `suggestion_days` computes the
stored ones. They join the catalogue where DOJO_MODELS names the model here. Customers' habits and
the sales of products are the views of other teams.
"""

from __future__ import annotations

from feature_repo.orders.views import PRODUCT_ORDERS
from feature_repo.services import FeatureService
from feature_repo.shop.customers import CUSTOMER_DAILY
from feature_repo.suggestions.views import OWNER, PRODUCT_SUGGESTIONS, SUGGESTION

VIEWS = (PRODUCT_ORDERS, PRODUCT_SUGGESTIONS)

# What the payments' views know about a customer's means.
MEANS = ("customer_amount_mean_30d",)
assert set(MEANS) <= set(CUSTOMER_DAILY.names)

SERVICES = (
    FeatureService(
        name="recommendation_v1",
        model="recommendation",
        owner=OWNER,
        features=(
            *PRODUCT_SUGGESTIONS.names,
            *PRODUCT_ORDERS.names,
            *MEANS,
            *(feature.name for feature in SUGGESTION.features),
        ),
        request=SUGGESTION,
    ),
)
