"""The view of customers who pay later, and the request for a credit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from dojo.shop.events import CREDITS as STREAM
from feature_repo.clock import HOUR, seconds_of_day
from feature_repo.services import Choose, RequestFeatures, choose_scalar
from feature_repo.views import DAILY_SLA, BatchView, EventSource, Feature

OWNER = "lending"

# Longer windows would still fill up in the 40 labelled days of a young shop.
WEEK_DAYS, WINDOW_DAYS = 7, 30

NIGHT_ENDS = 6 * HOUR

# The protected attribute `age_group` is not among the columns. Features cannot read it.
CREDITS = EventSource(
    stream=STREAM,
    key="credit_id",
    columns=("credit_id", "customer_id", "world_time", "amount", "parts", "account_days"),
)


def _count(days: int) -> Feature:
    text = f"The customer's purchases on credit in the {days} days before midnight."
    return Feature(f"customer_credits_{days}d", "credits", text)


CUSTOMER_CREDITS = BatchView(
    name="customer_credits",
    entity="customer",
    owner=OWNER,
    sources=(CREDITS,),
    compute="feature_repo.credits.credit_days:customer_credits",
    # A customer without a credit for this long gets one last row of zeros, as an unknown one.
    reach=timedelta(days=WINDOW_DAYS + 1),
    freshness_sla=DAILY_SLA,
    pii=True,
    description="What a customer has bought on credit, as of midnight.",
    features=(
        _count(WEEK_DAYS),
        _count(WINDOW_DAYS),
        Feature(
            "customer_credit_euro_30d",
            "euro",
            f"Sum of the customer's credits of the {WINDOW_DAYS} days before midnight.",
        ),
    ),
)


def application(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return APPLICATION's features by name, in their order.

    Raises:
        KeyError: An input is missing.
    """
    amount, usual = inputs["amount"], inputs["customer_amount_mean_30d"]
    paid, credits = inputs["customer_tx_count_30d"], inputs["customer_credits_30d"]
    night = seconds_of_day(inputs["application_time"]) < NIGHT_ENDS
    return {
        "credit_amount": amount,
        "parts": inputs["parts"],
        "account_days": inputs["account_days"],
        "credit_to_usual": choose(usual > 0, amount / (usual + 1.0), 1.0),
        "credit_share_30d": choose(paid > 0, credits / (paid + 1.0), 0.0),
        "asked_at_night": choose(night, 1.0, 0.0),
    }


# A purchase above 20,000 euro is a unit mistake here.
AMOUNT = Feature("amount", "euro", "Amount of the purchase.", bounds=(0, 20_000))
PARTS = Feature("parts", "parts", "Equal parts in which the customer repays.", bounds=(1, 12))
# A hundred years. Hours for days would exceed it.
ACCOUNT = Feature("account_days", "days", "Age of the customer's account.", bounds=(0, 36_500))

APPLICATION = RequestFeatures(
    name="application",
    inputs=(AMOUNT, PARTS, ACCOUNT),
    time_input="application_time",
    recorded=CREDITS,
    stored=("customer_amount_mean_30d", "customer_tx_count_30d", "customer_credits_30d"),
    features=(
        Feature("credit_amount", "euro", "Amount of the purchase on credit."),
        PARTS,
        ACCOUNT,
        Feature(
            "credit_to_usual",
            "ratio",
            "Amount against the customer's mean payment of 30 days; 1 without history.",
        ),
        Feature(
            "credit_share_30d",
            "fraction",
            "Credits of 30 days against payments of 30 days; 0 without history.",
        ),
        Feature("asked_at_night", "0 or 1", "The customer asks from 00:00 to 05:59 UTC."),
    ),
    compute=application,
)
