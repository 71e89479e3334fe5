"""Views of customers as members: what they spend, what they went through, whether they stay."""

from __future__ import annotations

from datetime import timedelta

from feature_repo.memberships.events import CANCELLATIONS, CRM, FINANCE, STATEMENTS
from feature_repo.orders.events import DELIVERIES, ORDERS, RETURNS
from feature_repo.shop.payments import PAYMENTS
from feature_repo.views import DAILY_SLA, BatchView, Feature

WINDOW_DAYS = 30

# A lifetime's spending looks back half a year. Models keep a year of data, and the first example of
# a training window needs its whole look back.
LIFETIME_DAYS = 180

# Statements come once in 30 days, so these are the last three whose decisions are known.
DECISIONS_DAYS = 90

# The same as in the promise on the delivery page.
LATE_AFTER_DAYS = 6

COMPUTE = "feature_repo.memberships.membership_days"

CUSTOMER_SPENDING = BatchView(
    name="customer_spending",
    entity="customer",
    owner=FINANCE,
    sources=(PAYMENTS,),
    compute=f"{COMPUTE}:customer_spending",
    reach=timedelta(days=LIFETIME_DAYS),
    freshness_sla=DAILY_SLA,
    pii=True,
    description="What a customer is worth so far, as of midnight.",
    features=(
        Feature(
            "customer_lifetime_value",
            "euro",
            f"Spent by the customer so far, at most {LIFETIME_DAYS} days back from midnight.",
        ),
        Feature(
            "customer_spend_a_day",
            "euro",
            "`customer_lifetime_value` by the days since the customer's first payment in it.",
        ),
        Feature(
            "customer_spend_30d",
            "euro",
            f"Spent by the customer in the {WINDOW_DAYS} days before midnight.",
        ),
    ),
)

CUSTOMER_SERVICE = BatchView(
    name="customer_service",
    entity="customer",
    owner=CRM,
    sources=(ORDERS, DELIVERIES, RETURNS),
    compute=f"{COMPUTE}:customer_service",
    reach=timedelta(days=WINDOW_DAYS),
    freshness_sla=DAILY_SLA,
    pii=True,
    description="What a customer went through with orders of the last month, as of midnight.",
    features=(
        Feature(
            "customer_late_parcels_30d",
            "orders",
            f"Orders of the customer in the {WINDOW_DAYS} days before midnight that took more than"
            f" {LATE_AFTER_DAYS} days, as far as known.",
        ),
        Feature(
            "customer_sent_back_30d",
            "orders",
            f"Orders of the customer in the {WINDOW_DAYS} days before midnight that are back"
            " already.",
        ),
        Feature(
            "customer_order_recency",
            "1/days",
            "1 / days from the customer's latest order to midnight. An order on the day before"
            f" gives 1, none for {WINDOW_DAYS} days gives 0.",
        ),
    ),
)

CUSTOMER_MEMBERSHIP = BatchView(
    name="customer_membership",
    entity="customer",
    owner=CRM,
    sources=(STATEMENTS, CANCELLATIONS),
    compute=f"{COMPUTE}:customer_membership",
    reach=CANCELLATIONS.settled_after + timedelta(days=DECISIONS_DAYS + 1),
    freshness_sla=DAILY_SLA,
    pii=True,
    description="How often a customer was a member and cancelled, as of midnight.",
    features=(
        Feature(
            "customer_statements_90d",
            "memberships",
            f"Statements of the customer in the {DECISIONS_DAYS} days before midnight.",
        ),
        Feature(
            "customer_cancelled_90d",
            "memberships",
            f"Cancellations after statements of the {DECISIONS_DAYS} days that ended"
            f" {CANCELLATIONS.settled_after.days} days before midnight.",
        ),
    ),
)
