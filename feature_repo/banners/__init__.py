"""The features of banners: who sees them and who clicks.

`events` holds the sources, `views` the stored features, `banner_days` computes them. They join the
catalogue where DOJO_MODELS names a model here. Customers' habits are the payments' own views.
"""

from __future__ import annotations

from feature_repo.banners.views import BANNER_CLICKS, CUSTOMER_CLICKS, OWNER, SLOT
from feature_repo.services import FeatureService
from feature_repo.shop.customers import CUSTOMER_DAILY

VIEWS = (BANNER_CLICKS, CUSTOMER_CLICKS)

# What the payments' views know about a customer, and a banner may appeal to.
HABITS = ("customer_tx_count_7d", "customer_tx_count_30d", "customer_amount_mean_30d")
assert set(HABITS) <= set(CUSTOMER_DAILY.names)

SERVICES = (
    FeatureService(
        name="banner_v1",
        model="banner",
        owner=OWNER,
        features=(
            *BANNER_CLICKS.names,
            *CUSTOMER_CLICKS.names,
            *HABITS,
            *(feature.name for feature in SLOT.features),
        ),
        request=SLOT,
    ),
)
