"""Features of a payment, computed in the request from the caller's inputs and stored values.

The stored streaming values are the state at the entity's *latest* transaction. A request comes
later, so a window that has run out since is empty (0). For example, `customer_tx_count_1h` is the
count in the hour before the latest transaction. It is 0 when that transaction is an hour ago or
longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feature_repo.clock import DAY, HOUR, SATURDAY, seconds_of_day, weekday
from feature_repo.services import Choose, RequestFeatures, choose_scalar
from feature_repo.shop.customers import CUSTOMER_ACTIVITY
from feature_repo.shop.merchants import MERCHANT_ACTIVITY
from feature_repo.shop.payments import PAYMENTS, PERIODS
from feature_repo.views import STREAMING_MEMORY, Feature

# Value of "seconds since" without an earlier transaction, or with an older one.
SECONDS_SINCE_CAP = STREAMING_MEMORY.total_seconds()


def compute(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return PAYMENT's features by name, in their order.

    Raises:
        KeyError: An input is missing.
    """
    amount, now = inputs["amount"], inputs["transaction_time"]
    mean_30d = inputs["customer_amount_mean_30d"]
    known = inputs["customer_tx_count_30d"] > 0
    base = choose(mean_30d > 1.0, mean_30d, 1.0)  # euro, never a history of cents
    settled_max = inputs["customer_amount_max_30d_settled"]

    customer_since = _since(now, inputs["customer_last_tx_time"], choose)
    merchant_since = _since(now, inputs["merchant_last_tx_time"], choose)
    max_24h = _window(inputs["customer_last_amount_max_24h"], customer_since, DAY, choose)
    return {
        "amount": amount,
        "amount_to_mean_30d": choose(known, amount / base, 1.0),
        "amount_zscore_30d": choose(
            known, (amount - mean_30d) / (inputs["customer_amount_std_30d"] + 1.0), 0.0
        ),
        "amount_to_settled_max": choose(settled_max > 0, amount / (settled_max + 1.0), 1.0),
        "max_7d_to_mean_30d": choose(known, inputs["customer_amount_max_7d"] / base, 1.0),
        "max_24h_to_mean_30d": choose(known, max_24h / base, 1.0),
        "mean_1d_to_mean_30d": choose(known, inputs["customer_amount_mean_1d"] / base, 1.0),
        "mean_7d_to_mean_30d": choose(known, inputs["customer_amount_mean_7d"] / base, 1.0),
        "is_night": choose(seconds_of_day(now) < 7 * HOUR, 1.0, 0.0),
        "is_weekend": choose(weekday(now) >= SATURDAY, 1.0, 0.0),
        "customer_seconds_since_tx": customer_since,
        "customer_tx_count_1h": _window(
            inputs["customer_last_tx_count_1h"], customer_since, HOUR, choose
        ),
        "customer_amount_1h": _window(
            inputs["customer_last_amount_1h"], customer_since, HOUR, choose
        ),
        "customer_tx_count_24h": _window(
            inputs["customer_last_tx_count_24h"], customer_since, DAY, choose
        ),
        "customer_amount_24h": _window(
            inputs["customer_last_amount_24h"], customer_since, DAY, choose
        ),
        "customer_amount_max_24h": max_24h,
        "merchant_seconds_since_tx": merchant_since,
        "merchant_tx_count_1h": _window(
            inputs["merchant_last_tx_count_1h"], merchant_since, HOUR, choose
        ),
        "merchant_amount_1h": _window(
            inputs["merchant_last_amount_1h"], merchant_since, HOUR, choose
        ),
    }


def _since(now: Any, last: Any, choose: Choose) -> Any:
    """Return the seconds from the previous transaction to now, within [0, SECONDS_SINCE_CAP]."""
    elapsed = choose(now > last, now - last, 0.0)
    return choose(elapsed < SECONDS_SINCE_CAP, elapsed, SECONDS_SINCE_CAP)


def _window(value: Any, elapsed: Any, length: float, choose: Choose) -> Any:
    return choose(elapsed < length, value, 0.0)


def _to_mean(name: str, what: str) -> Feature:
    return Feature(
        f"{name}_to_mean_30d", "ratio", f"{what} against the 30-day mean; 1 without history."
    )


def _still_recent(party: str, period: str) -> tuple[Feature, Feature]:
    """Return the features that give the stored values of `activity` as of the request."""
    said = PERIODS[period][1]
    rest = (
        f"in the {said} up to the latest %s; 0 when that is over"
        f" {'an hour' if period == '1h' else said} ago."
    )
    count, amount = (
        f"The {party}'s transactions {rest % 'one'}",
        f"Sum of the {party}'s amounts {rest % 'transaction'}",
    )
    return Feature(f"{party}_tx_count_{period}", "transactions", count), Feature(
        f"{party}_amount_{period}", "euro", amount
    )


# A card payment above a million is a unit mistake, not a purchase.
AMOUNT = Feature("amount", "euro", "Amount of the payment.", bounds=(0, 1e6))

PAYMENT = RequestFeatures(
    name="payment",
    inputs=(AMOUNT,),
    time_input="transaction_time",
    recorded=PAYMENTS,
    stored=(
        "customer_tx_count_30d",
        *(
            f"customer_amount_{name}"
            for name in ("mean_1d", "mean_7d", "mean_30d", "std_30d", "max_7d", "max_30d_settled")
        ),
        *CUSTOMER_ACTIVITY.names,
        *MERCHANT_ACTIVITY.names,
    ),
    features=(
        AMOUNT,
        Feature(
            "amount_to_mean_30d",
            "ratio",
            "Amount against the customer's 30-day mean; 1 without history.",
        ),
        Feature(
            "amount_zscore_30d",
            "standard deviations",
            "Amount against the customer's 30-day mean, in standard deviations; 0 without history.",
        ),
        Feature(
            "amount_to_settled_max",
            "ratio",
            "Amount against the customer's largest settled amount; 1 without history.",
        ),
        _to_mean("max_7d", "The customer's largest amount of the week"),
        _to_mean("max_24h", "The customer's largest amount of the last 24 hours"),
        _to_mean("mean_1d", "The customer's mean amount of yesterday"),
        _to_mean("mean_7d", "The customer's mean amount of the week"),
        Feature("is_night", "0 or 1", "The payment is made from 00:00 to 06:59 UTC."),
        Feature("is_weekend", "0 or 1", "The payment is made on a Saturday or Sunday, UTC."),
        Feature(
            "customer_seconds_since_tx",
            "seconds",
            "Since the customer's previous transaction, at most 30 days.",
        ),
        *_still_recent("customer", "1h"),
        *_still_recent("customer", "24h"),
        Feature(
            "customer_amount_max_24h",
            "euro",
            "The customer's largest amount in the 24 hours up to the latest transaction; 0 when"
            " that is over 24 hours ago.",
        ),
        Feature(
            "merchant_seconds_since_tx",
            "seconds",
            "Since the merchant's previous transaction, at most 30 days.",
        ),
        *_still_recent("merchant", "1h"),
    ),
    compute=compute,
)
