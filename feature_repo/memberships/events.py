"""Statements of members, and what becomes known after them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from dojo.shop.events import MAX_MEMBER_DAYS, MEMBERSHIPS
from feature_repo.services import Choose, RequestFeatures, choose_scalar
from feature_repo.views import EventSource, Feature, labels_of

CRM, FINANCE = "crm", "finance-analytics"

STATEMENTS = EventSource(
    stream=MEMBERSHIPS,
    key="membership_id",
    columns=("membership_id", "customer_id", "world_time", "member_days"),
)

CANCELLATIONS = labels_of("churn", settled_after=timedelta(days=30))

NEW_DAYS = 60


def at_statement(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return STATEMENT's features by name, in their order.

    Raises:
        KeyError: An input is missing.
    """
    days = inputs["member_days"]
    return {"member_days": days, "new_member": choose(days < NEW_DAYS, 1.0, 0.0)}


MEMBER_DAYS = Feature(
    "member_days", "days", "Since the customer first joined.", bounds=(0, MAX_MEMBER_DAYS)
)

STATEMENT = RequestFeatures(
    name="statement",
    inputs=(MEMBER_DAYS,),
    time_input="statement_time",
    recorded=STATEMENTS,
    features=(
        MEMBER_DAYS,
        Feature("new_member", "0 or 1", f"The customer joined within {NEW_DAYS} days."),
    ),
    compute=at_statement,
)
