"""The features of what customers order, how it is delivered, and what comes back.

`events` holds the sources, `views` the stored features, `order_days` computes them. `requests`
holds the features of a request. They join the catalogue where DOJO_MODELS names a model here.
"""

from __future__ import annotations

from feature_repo.orders.events import CUSTOMER_CARE, LOGISTICS
from feature_repo.orders.requests import DELIVERY, PURCHASE
from feature_repo.orders.views import CUSTOMER_ORDERS, PRODUCT_ORDERS, SELLER_ORDERS
from feature_repo.services import FeatureService

VIEWS = (SELLER_ORDERS, PRODUCT_ORDERS, CUSTOMER_ORDERS)

SERVICES = (
    FeatureService(
        name="delivery_time_v1",
        model="delivery_time",
        owner=LOGISTICS,
        features=(
            *SELLER_ORDERS.names,
            *(feature.name for feature in DELIVERY.features),
        ),
        request=DELIVERY,
    ),
    FeatureService(
        name="return_risk_v1",
        model="return_risk",
        owner=CUSTOMER_CARE,
        features=(
            *PRODUCT_ORDERS.names,
            *CUSTOMER_ORDERS.names,
            *(feature.name for feature in PURCHASE.features),
        ),
        request=PURCHASE,
    ),
)
