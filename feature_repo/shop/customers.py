"""Views of a customer: habits as of midnight, and the last day."""

from __future__ import annotations

from datetime import timedelta

from feature_repo.shop.payments import (
    CENTS_PER_EURO,
    LABEL_DELAY,
    OWNER,
    PAYMENTS,
    PERIODS,
    activity,
    daily_counts,
)
from feature_repo.views import DAILY_SLA, STREAMING_SLA, BatchView, Feature, StreamingView, Window

# A customer without a transaction for this many days is forgotten. It gets one last row of zeros,
# the same as an unknown one. This is the longest look back of any feature, so forgetting changes
# nothing.
CUSTOMER_MEMORY_DAYS = LABEL_DELAY.days + 30

CUSTOMER_DAILY = BatchView(
    name="customer_daily",
    entity="customer",
    owner=OWNER,
    sources=(PAYMENTS,),
    compute="feature_repo.shop.customer_days:customer_daily",
    reach=timedelta(days=CUSTOMER_MEMORY_DAYS + 1),
    freshness_sla=DAILY_SLA,
    pii=True,
    description="Spending habits of a customer, as of midnight.",
    features=(
        *daily_counts("customer"),
        *(
            Feature(
                f"customer_amount_mean_{days}d",
                "euro",
                f"Mean amount of the customer's transactions in the {days} days before midnight.",
            )
            for days in (1, 7, 30)
        ),
        Feature(
            "customer_amount_std_30d",
            "euro",
            "Standard deviation (population) of the customer's amounts in the 30 days before"
            " midnight.",
        ),
        Feature(
            "customer_amount_max_7d",
            "euro",
            "Largest amount of the customer in the 7 days before midnight.",
        ),
        Feature(
            "customer_amount_max_30d_settled",
            "euro",
            "Largest amount of the customer in the 30 days that ended a label delay before"
            " midnight: what was normal before a possible compromise.",
        ),
    ),
)

CUSTOMER_ACTIVITY = StreamingView(
    name="customer_activity",
    entity="customer",
    owner=OWNER,
    sources=(PAYMENTS,),
    value="amount",
    scale=CENTS_PER_EURO,
    freshness_sla=STREAMING_SLA,
    pii=True,
    description=(
        "The customer's last day and hour, as of the customer's latest transaction (which is"
        " included)."
    ),
    features=(
        *activity("customer", "1h", "24h"),
        Feature(
            "customer_last_amount_max_24h",
            "euro",
            "Largest amount in the 24 hours up to and with the latest transaction.",
            Window("max", PERIODS["24h"][0]),
        ),
    ),
)
