"""The features of search results: how well a product does in searches.

`views` holds the sources, the stored features and the request, `search_days` computes the stored
ones. They join the catalogue where DOJO_MODELS names the model here. Customers' habits are the
payments' own views.
"""

from __future__ import annotations

from feature_repo.searches.views import OWNER, PRODUCT_SEARCHES, RESULT
from feature_repo.services import FeatureService
from feature_repo.shop.customers import CUSTOMER_DAILY

VIEWS = (PRODUCT_SEARCHES,)

# What the payments' views know about a customer's means.
MEANS = ("customer_amount_mean_30d",)
assert set(MEANS) <= set(CUSTOMER_DAILY.names)

SERVICES = (
    FeatureService(
        name="search_ranking_v1",
        model="search_ranking",
        owner=OWNER,
        features=(
            *PRODUCT_SEARCHES.names,
            *MEANS,
            *(feature.name for feature in RESULT.features),
        ),
        request=RESULT,
    ),
)
