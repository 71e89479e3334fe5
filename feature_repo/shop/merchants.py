"""Views of a merchant: traffic and known fraud as of midnight, and the last hour."""

from __future__ import annotations

from datetime import timedelta

from feature_repo.shop.payments import (
    CENTS_PER_EURO,
    FRAUD_LABELS,
    OWNER,
    PAYMENTS,
    activity,
    daily_counts,
)
from feature_repo.views import DAILY_SLA, STREAMING_SLA, BatchView, Feature, StreamingView

# A streak of fraud ends when this many days pass at a merchant without a new fraud.
STREAK_GAP_DAYS = 10

# Value of the days-since features for "never" and "too long ago to matter", days.
DAYS_CAP = 90.0

# A merchant without a transaction for this many days is forgotten. It gets one last row of zeros,
# the same as an unknown one. This is the longest look back of any feature. So forgetting only
# changes DAYS_CAP ("never") into 0.
MERCHANT_MEMORY_DAYS = int(DAYS_CAP) + STREAK_GAP_DAYS + 1

MERCHANT_DAILY = BatchView(
    name="merchant_daily",
    entity="merchant",
    owner=OWNER,
    sources=(PAYMENTS, FRAUD_LABELS),
    compute="feature_repo.shop.merchant_days:merchant_daily",
    reach=timedelta(days=MERCHANT_MEMORY_DAYS + 1),
    freshness_sla=DAILY_SLA,
    pii=False,
    description=(
        "Traffic and known fraud of a merchant, as of midnight. Labels count from when they"
        " arrived."
    ),
    features=(
        *daily_counts("merchant"),
        *(
            Feature(
                f"merchant_risk_{days}d",
                "fraction",
                f"Share of fraud among the merchant's labelled transactions in the {days} days that"
                " ended a label delay before midnight.",
            )
            for days in (1, 7, 30)
        ),
        *(
            Feature(
                f"merchant_fraud_count_{days}d",
                "transactions",
                f"Known frauds at the merchant in the {days} days that ended a label delay before"
                " midnight.",
            )
            for days in (14, 30)
        ),
        Feature(
            "merchant_last_risk",
            "fraction",
            "Share of fraud on the merchant's latest day whose labels have all arrived.",
        ),
        Feature(
            "merchant_fraud_age_days",
            "days",
            f"Days since the merchant's latest known fraud; {DAYS_CAP:g} for longer ago or never.",
        ),
        Feature(
            "merchant_streak_age_days",
            "days",
            "Days since the merchant's latest streak of fraud began (a fraud with none known in"
            f" the {STREAK_GAP_DAYS} days before it); {DAYS_CAP:g} for longer ago or never. A"
            " compromise is found and repaired after weeks: its age tells whether it still"
            " goes on.",
        ),
    ),
)

MERCHANT_ACTIVITY = StreamingView(
    name="merchant_activity",
    entity="merchant",
    owner=OWNER,
    sources=(PAYMENTS,),
    value="amount",
    scale=CENTS_PER_EURO,
    freshness_sla=STREAMING_SLA,
    pii=False,
    description=(
        "The merchant's last hour, as of the merchant's latest transaction (which is included)."
    ),
    features=activity("merchant", "1h"),
)
