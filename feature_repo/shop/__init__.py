"""The shop's features.

`payments` holds the events, `customers` and `merchants` the views. `customer_days` and
`merchant_days` compute the daily views, `request` the features computed in the request.

A module of features has `VIEWS` and `SERVICES`. The catalogue takes them from here.
"""

from __future__ import annotations

from feature_repo.services import FeatureService
from feature_repo.shop.customers import CUSTOMER_ACTIVITY, CUSTOMER_DAILY
from feature_repo.shop.merchants import MERCHANT_ACTIVITY, MERCHANT_DAILY
from feature_repo.shop.payments import OWNER
from feature_repo.shop.request import PAYMENT

VIEWS = (CUSTOMER_DAILY, MERCHANT_DAILY, CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY)

SERVICES = (
    FeatureService(
        name="fraud_detection_v1",
        model="fraud_detection",
        owner=OWNER,
        features=(
            *CUSTOMER_DAILY.names,
            *MERCHANT_DAILY.names,
            *(feature.name for feature in PAYMENT.features),
        ),
        request=PAYMENT,
    ),
)
