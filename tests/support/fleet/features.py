"""The inputs of the fleet's models: stored views of the shop, and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feature_repo.services import Choose, FeatureService, RequestFeatures, choose_scalar
from feature_repo.shop import CUSTOMER_DAILY, MERCHANT_DAILY, PAYMENT
from feature_repo.shop.payments import PAYMENTS
from feature_repo.shop.request import compute as compute_payment

CLOCK = ("is_night", "is_weekend")


def by_the_clock(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return night and weekend by the shop's own formulas. An amount is not known yet."""
    unknown = dict.fromkeys((*PAYMENT.numbers, *PAYMENT.stored), inputs["transaction_time"] * 0.0)
    computed = compute_payment({**unknown, "transaction_time": inputs["transaction_time"]}, choose)
    return {name: computed[name] for name in CLOCK}


CHECKOUT = RequestFeatures(
    name="checkout",
    time_input="transaction_time",
    recorded=PAYMENTS,
    features=tuple(feature for feature in PAYMENT.features if feature.name in CLOCK),
    compute=by_the_clock,
)

EXPECTED_AMOUNT_V1 = FeatureService(
    name="expected_amount_v1",
    model="expected_amount",
    owner="checkout",
    features=(*CUSTOMER_DAILY.names, *MERCHANT_DAILY.names, *CLOCK),
    request=CHECKOUT,
)

# An order of one hour's payments. The clock is the same for all of them.
SPENDING_ORDER_V1 = FeatureService(
    name="spending_order_v1",
    model="spending_order",
    owner="concierge",
    features=(*CUSTOMER_DAILY.names, *MERCHANT_DAILY.names),
    request=RequestFeatures(name="order", time_input="transaction_time", recorded=PAYMENTS),
)

VIEWS = ()
SERVICES = (EXPECTED_AMOUNT_V1, SPENDING_ORDER_V1)
