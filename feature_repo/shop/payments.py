"""Payments: the events behind the shop's features, and the common features of both parties."""

from __future__ import annotations

from datetime import timedelta

from dojo.shop.events import TRANSACTIONS
from feature_repo.views import MOMENT_UNIT, EventSource, Feature, Window, labels_of

OWNER = "payments-risk"

PAYMENTS = EventSource(
    stream=TRANSACTIONS,
    key="transaction_id",
    columns=("transaction_id", "customer_id", "merchant_id", "world_time", "amount"),
)

CENTS_PER_EURO = 100

# The label delay's maximum. Merchant risk uses only older payments, whose labels have certainly
# arrived.
LABEL_DELAY = timedelta(days=7)

LABEL_DELAY_DAYS = LABEL_DELAY.days

FRAUD_LABELS = labels_of("fraud_detection", settled_after=LABEL_DELAY)

# Ending of a name -> length, and its words for people.
PERIODS = {"1h": (timedelta(hours=1), "hour"), "24h": (timedelta(hours=24), "24 hours")}


def daily_counts(party: str) -> tuple[Feature, ...]:
    text = f"The {party}'s transactions in the {{}} days before midnight."
    return tuple(
        Feature(f"{party}_tx_count_{days}d", "transactions", text.format(days))
        for days in (1, 7, 30)
    )


def activity(party: str, *periods: str) -> tuple[Feature, ...]:
    """Return the time of the party's latest payment, with count and sum in each period up to it."""
    latest = f"When the {party}'s latest transaction was made."
    features = [Feature(f"{party}_last_tx_time", MOMENT_UNIT, latest, Window("latest_time"))]
    for period in periods:
        length, said = PERIODS[period]
        count = f"Transactions in the {said} up to and with the latest one."
        amount = f"Sum of amounts in the {said} up to and with the latest transaction."
        features += [
            Feature(
                f"{party}_last_tx_count_{period}", "transactions", count, Window("count", length)
            ),
            Feature(f"{party}_last_amount_{period}", "euro", amount, Window("sum", length)),
        ]
    return tuple(features)
