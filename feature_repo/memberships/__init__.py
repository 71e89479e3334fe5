"""The features of members: who stays, and what they are worth.

`events` holds the sources and the request, `views` the stored features, `membership_days` computes
them. They join the catalogue where DOJO_MODELS names a model here. Habits of payments and orders
are the views of other teams.
"""

from __future__ import annotations

from feature_repo.memberships.events import CRM, FINANCE, STATEMENT
from feature_repo.memberships.views import (
    CUSTOMER_MEMBERSHIP,
    CUSTOMER_SERVICE,
    CUSTOMER_SPENDING,
)
from feature_repo.orders.views import CUSTOMER_ORDERS
from feature_repo.services import FeatureService
from feature_repo.shop.customers import CUSTOMER_DAILY

VIEWS = (CUSTOMER_ORDERS, CUSTOMER_SPENDING, CUSTOMER_SERVICE, CUSTOMER_MEMBERSHIP)

# What the payments' views know about a customer.
HABITS = ("customer_tx_count_7d", "customer_tx_count_30d", "customer_amount_mean_30d")
assert set(HABITS) <= set(CUSTOMER_DAILY.names)

_STATEMENT = tuple(feature.name for feature in STATEMENT.features)

SERVICES = (
    FeatureService(
        name="churn_v1",
        model="churn",
        owner=CRM,
        features=(
            *CUSTOMER_ORDERS.names,
            *CUSTOMER_SPENDING.names,
            *CUSTOMER_SERVICE.names,
            *CUSTOMER_MEMBERSHIP.names,
            *HABITS,
            *_STATEMENT,
        ),
        request=STATEMENT,
    ),
    FeatureService(
        name="customer_value_v1",
        model="customer_value",
        owner=FINANCE,
        features=(
            *CUSTOMER_SPENDING.names,
            "customer_orders_30d",
            *CUSTOMER_SERVICE.names,
            *HABITS,
            *_STATEMENT,
        ),
        request=STATEMENT,
    ),
)
