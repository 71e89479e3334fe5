"""Request-time features: one set of formulas for one request (floats) and for a training set (arrays).

The stored streaming values are the state at the entity's *latest* transaction. A request comes later, so a window that has
run out since is empty (0): `customer_tx_count_1h` is the count in the hour before the latest transaction when that
is less than an hour ago, else 0.

All inputs are numbers; a stored value that does not exist is 0. With `choose=numpy.where` the inputs may be arrays of shape (rows,).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

HOUR = 3600.0
DAY = 86400.0

# Without an earlier transaction, or with one longer ago, "seconds since" is this: 30 days, the longest window we keep.
SECONDS_SINCE_CAP = 30 * DAY

# The request input that is a time; all others are numbers.
TIME_INPUT = "transaction_time"

# What the caller sends with a request.
REQUEST_INPUTS: dict[str, str] = {
    "amount": "Amount of the payment, euro.",
    TIME_INPUT: "When the payment is made, unix seconds UTC.",
}

# What is read from the store.
STORED_INPUTS: tuple[str, ...] = (
    "customer_tx_count_30d",
    "customer_amount_mean_1d",
    "customer_amount_mean_7d",
    "customer_amount_mean_30d",
    "customer_amount_std_30d",
    "customer_amount_max_7d",
    "customer_amount_max_30d_settled",
    "customer_last_tx_time",
    "customer_last_tx_count_1h",
    "customer_last_amount_1h",
    "customer_last_tx_count_24h",
    "customer_last_amount_24h",
    "customer_last_amount_max_24h",
    "merchant_last_tx_time",
    "merchant_last_tx_count_1h",
    "merchant_last_amount_1h",
)

# What comes out, in order: name -> (unit, description).
FEATURES: dict[str, tuple[str, str]] = {
    "amount": ("euro", "Amount of the payment."),
    "amount_to_mean_30d": ("ratio", "Amount against the customer's 30-day mean; 1 without history."),
    "amount_zscore_30d": (
        "standard deviations",
        "Amount against the customer's 30-day mean, in standard deviations; 0 without history.",
    ),
    "amount_to_settled_max": ("ratio", "Amount against the customer's largest settled amount; 1 without history."),
    "max_7d_to_mean_30d": ("ratio", "The customer's largest amount of the week against the 30-day mean; 1 without history."),
    "max_24h_to_mean_30d": (
        "ratio",
        "The customer's largest amount of the last 24 hours against the 30-day mean; 1 without history.",
    ),
    "mean_1d_to_mean_30d": ("ratio", "The customer's mean amount of yesterday against the 30-day mean; 1 without history."),
    "mean_7d_to_mean_30d": ("ratio", "The customer's mean amount of the week against the 30-day mean; 1 without history."),
    "is_night": ("0 or 1", "The payment is made from 00:00 to 06:59 UTC."),
    "is_weekend": ("0 or 1", "The payment is made on a Saturday or Sunday, UTC."),
    "customer_seconds_since_tx": ("seconds", "Since the customer's previous transaction, at most 30 days."),
    "customer_tx_count_1h": (
        "transactions",
        "The customer's transactions in the hour up to the latest one; 0 when that is over an hour ago.",
    ),
    "customer_amount_1h": (
        "euro",
        "Sum of the customer's amounts in the hour up to the latest transaction; 0 when that is over an hour ago.",
    ),
    "customer_tx_count_24h": (
        "transactions",
        "The customer's transactions in the 24 hours up to the latest one; 0 when that is over 24 hours ago.",
    ),
    "customer_amount_24h": (
        "euro",
        "Sum of the customer's amounts in the 24 hours up to the latest transaction; 0 when that is over 24 hours ago.",
    ),
    "customer_amount_max_24h": (
        "euro",
        "The customer's largest amount in the 24 hours up to the latest transaction; 0 when that is over 24 hours ago.",
    ),
    "merchant_seconds_since_tx": ("seconds", "Since the merchant's previous transaction, at most 30 days."),
    "merchant_tx_count_1h": (
        "transactions",
        "The merchant's transactions in the hour up to the latest one; 0 when that is over an hour ago.",
    ),
    "merchant_amount_1h": (
        "euro",
        "Sum of the merchant's amounts in the hour up to the latest transaction; 0 when that is over an hour ago.",
    ),
}

Choose = Callable[[Any, Any, Any], Any]


def choose_scalar(condition: bool, yes: float, no: float) -> float:
    """`numpy.where` for one request: 30 times cheaper than NumPy on scalars."""
    return yes if condition else no


def compute(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """The request-time features.

    Args:
        inputs: REQUEST_INPUTS and STORED_INPUTS by name; floats, or float64 arrays of shape (rows,) with `choose=numpy.where`.

    Returns:
        FEATURES by name, in their order, same shape as the inputs.

    Raises:
        KeyError: an input is missing.
    """
    amount, now = inputs["amount"], inputs["transaction_time"]
    mean_30d = inputs["customer_amount_mean_30d"]
    known = inputs["customer_tx_count_30d"] > 0
    base = choose(mean_30d > 1.0, mean_30d, 1.0)  # euro; never divide by the cents of a tiny history
    settled_max = inputs["customer_amount_max_30d_settled"]

    customer_since = _since(now, inputs["customer_last_tx_time"], choose)
    merchant_since = _since(now, inputs["merchant_last_tx_time"], choose)
    max_24h = _window(inputs["customer_last_amount_max_24h"], customer_since, DAY, choose)
    return {
        "amount": amount,
        "amount_to_mean_30d": choose(known, amount / base, 1.0),
        "amount_zscore_30d": choose(known, (amount - mean_30d) / (inputs["customer_amount_std_30d"] + 1.0), 0.0),
        "amount_to_settled_max": choose(settled_max > 0, amount / (settled_max + 1.0), 1.0),
        "max_7d_to_mean_30d": choose(known, inputs["customer_amount_max_7d"] / base, 1.0),
        "max_24h_to_mean_30d": choose(known, max_24h / base, 1.0),
        "mean_1d_to_mean_30d": choose(known, inputs["customer_amount_mean_1d"] / base, 1.0),
        "mean_7d_to_mean_30d": choose(known, inputs["customer_amount_mean_7d"] / base, 1.0),
        "is_night": choose(now % DAY < 7 * HOUR, 1.0, 0.0),
        "is_weekend": choose((now // DAY + 3) % 7 >= 5, 1.0, 0.0),  # 1970-01-01 was a Thursday: day 3 from Monday
        "customer_seconds_since_tx": customer_since,
        "customer_tx_count_1h": _window(inputs["customer_last_tx_count_1h"], customer_since, HOUR, choose),
        "customer_amount_1h": _window(inputs["customer_last_amount_1h"], customer_since, HOUR, choose),
        "customer_tx_count_24h": _window(inputs["customer_last_tx_count_24h"], customer_since, DAY, choose),
        "customer_amount_24h": _window(inputs["customer_last_amount_24h"], customer_since, DAY, choose),
        "customer_amount_max_24h": max_24h,
        "merchant_seconds_since_tx": merchant_since,
        "merchant_tx_count_1h": _window(inputs["merchant_last_tx_count_1h"], merchant_since, HOUR, choose),
        "merchant_amount_1h": _window(inputs["merchant_last_amount_1h"], merchant_since, HOUR, choose),
    }


def _since(now: Any, last: Any, choose: Choose) -> Any:
    """Seconds from the previous transaction to now, within [0, SECONDS_SINCE_CAP]."""
    elapsed = choose(now > last, now - last, 0.0)
    return choose(elapsed < SECONDS_SINCE_CAP, elapsed, SECONDS_SINCE_CAP)


def _window(value: Any, elapsed: Any, length: float, choose: Choose) -> Any:
    return choose(elapsed < length, value, 0.0)
