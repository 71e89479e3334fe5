"""The features of purchases that are paid later.

`views` holds the stored features and the features of a request, `credit_days` computes the stored
ones. They join the catalogue where DOJO_MODELS names a model here. Customers' habits are the
payments' own views.

No feature is computed from labels. They take 60 days, so a shop's first versions would learn from
zeros.
"""

from __future__ import annotations

from feature_repo.credits.views import APPLICATION, CUSTOMER_CREDITS, OWNER
from feature_repo.services import FeatureService
from feature_repo.shop.customers import CUSTOMER_DAILY

VIEWS = (CUSTOMER_CREDITS,)

# What the payments' views know about a customer's means.
HABITS = (
    "customer_tx_count_30d",
    "customer_amount_mean_30d",
    "customer_amount_std_30d",
    "customer_amount_max_7d",
)
assert set(HABITS) <= set(CUSTOMER_DAILY.names)

SERVICES = (
    FeatureService(
        name="pay_later_v1",
        model="pay_later",
        owner=OWNER,
        features=(
            *CUSTOMER_CREDITS.names,
            *HABITS,
            *(feature.name for feature in APPLICATION.features),
        ),
        request=APPLICATION,
    ),
)
