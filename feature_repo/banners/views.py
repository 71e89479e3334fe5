"""Views of banners and of customers who see them, and the request for a slot."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from feature_repo.banners.events import BANNERS, CLICKS
from feature_repo.clock import HOUR, SATURDAY, seconds_of_day, weekday
from feature_repo.services import Choose, RequestFeatures, choose_scalar
from feature_repo.views import DAILY_SLA, BatchView, Feature

OWNER = "storefront"

WEEK_DAYS, WINDOW_DAYS = 7, 30

# A banner or customer without an impression for this long is forgotten. It gets one last row of
# zeros, the same as an unknown one. No feature looks back further.
REACH = CLICKS.settled_after + timedelta(days=WINDOW_DAYS + 1)

COMPUTE = "feature_repo.banners.banner_days"


def _shown(party: str, days: int) -> Feature:
    text = f"Impressions of the {party} in the {days} days before midnight."
    return Feature(f"{party}_shown_{days}d", "banners", text)


def _click_rate(party: str, days: int) -> Feature:
    return Feature(
        f"{party}_click_rate_{days}d",
        "fraction",
        f"Clicked share of the {party}'s impressions, in the {days} days that ended a day before"
        " midnight. 0 without any.",
    )


BANNER_CLICKS = BatchView(
    name="banner_clicks",
    entity="banner",
    owner=OWNER,
    sources=(BANNERS, CLICKS),
    compute=f"{COMPUTE}:banner_clicks",
    reach=REACH,
    freshness_sla=DAILY_SLA,
    pii=False,
    description="How often a banner is seen and clicked, as of midnight.",
    features=(
        _shown("banner", WEEK_DAYS),
        _click_rate("banner", WEEK_DAYS),
        _click_rate("banner", WINDOW_DAYS),
    ),
)

CUSTOMER_CLICKS = BatchView(
    name="customer_clicks",
    entity="customer",
    owner=OWNER,
    sources=(BANNERS, CLICKS),
    compute=f"{COMPUTE}:customer_clicks",
    reach=REACH,
    freshness_sla=DAILY_SLA,
    pii=True,
    description="How often a customer sees and clicks banners, as of midnight.",
    features=(_shown("customer", WINDOW_DAYS), _click_rate("customer", WINDOW_DAYS)),
)


def compute(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    """Return SLOT's features by name, in their order.

    Raises:
        KeyError: An input is missing.
    """
    now = inputs["visit_time"]
    return {
        "visit_hour": seconds_of_day(now) // HOUR,
        "visit_on_weekend": choose(weekday(now) >= SATURDAY, 1.0, 0.0),
    }


SLOT = RequestFeatures(
    name="slot",
    time_input="visit_time",
    recorded=BANNERS,
    features=(
        Feature("visit_hour", "hours", "Hour of the visit, 0 to 23, UTC."),
        Feature("visit_on_weekend", "0 or 1", "The visit is on a Saturday or Sunday, UTC."),
    ),
    compute=compute,
)
