"""Views of sellers, products and customers, as of midnight."""

from __future__ import annotations

from datetime import timedelta

from feature_repo.orders.events import CUSTOMER_CARE, DELIVERIES, LOGISTICS, ORDERS, RETURNS
from feature_repo.views import DAILY_SLA, BatchView, Feature

WINDOW_DAYS = 30
WEEK_DAYS = 7

# An entity without an order for this many days is forgotten. It gets one last row of zeros, the
# same as an unknown one. This is the longest look back of any feature, so forgetting changes
# nothing.
SELLER_MEMORY = DELIVERIES.settled_after + timedelta(days=WINDOW_DAYS)
RETURN_MEMORY = RETURNS.settled_after + timedelta(days=WINDOW_DAYS)

COMPUTE = "feature_repo.orders.order_days"


def _count(entity: str, days: int) -> Feature:
    text = f"Orders of the {entity} in the {days} days before midnight."
    return Feature(f"{entity}_orders_{days}d", "orders", text)


def _settled(name: str, unit: str, what: str, delay: timedelta) -> Feature:
    until = f"of the {WINDOW_DAYS} days that ended {delay.days} days before midnight"
    return Feature(name, unit, f"{what} {until}, when all of it was known. 0 without any.")


SELLER_ORDERS = BatchView(
    name="seller_orders",
    entity="merchant",
    owner=LOGISTICS,
    sources=(ORDERS, DELIVERIES),
    compute=f"{COMPUTE}:seller_orders",
    reach=SELLER_MEMORY + timedelta(days=1),
    freshness_sla=DAILY_SLA,
    pii=False,
    description="How much a merchant sells and how long its deliveries take, as of midnight.",
    features=(
        _count("seller", WEEK_DAYS),
        _count("seller", WINDOW_DAYS),
        _settled(
            "seller_delivery_mean",
            "days",
            "Mean time to the door of the merchant's orders",
            DELIVERIES.settled_after,
        ),
        _settled(
            "seller_delivered",
            "orders",
            "Deliveries behind `seller_delivery_mean`,",
            DELIVERIES.settled_after,
        ),
    ),
)

PRODUCT_ORDERS = BatchView(
    name="product_orders",
    entity="product",
    owner=CUSTOMER_CARE,
    sources=(ORDERS, RETURNS),
    compute=f"{COMPUTE}:product_orders",
    reach=RETURN_MEMORY + timedelta(days=1),
    freshness_sla=DAILY_SLA,
    pii=False,
    description="How a product sells, and how often it comes back, as of midnight.",
    features=(
        _count("product", WEEK_DAYS),
        _count("product", WINDOW_DAYS),
        Feature(
            "product_price_mean",
            "euro",
            f"Mean price of the product in the {WINDOW_DAYS} days before midnight.",
        ),
        _settled(
            "product_return_rate",
            "fraction",
            "Returned share of the product's orders",
            RETURNS.settled_after,
        ),
    ),
)

CUSTOMER_ORDERS = BatchView(
    name="customer_orders",
    entity="customer",
    owner=CUSTOMER_CARE,
    sources=(ORDERS, RETURNS),
    compute=f"{COMPUTE}:customer_orders",
    reach=RETURN_MEMORY + timedelta(days=1),
    freshness_sla=DAILY_SLA,
    pii=True,
    description="What a customer orders and sends back, as of midnight.",
    features=(
        _count("customer", WINDOW_DAYS),
        Feature(
            "customer_express_share",
            "fraction",
            f"Express share of the customer's orders in the {WINDOW_DAYS} days before midnight.",
        ),
        _settled(
            "customer_return_rate",
            "fraction",
            "Returned share of the customer's orders",
            RETURNS.settled_after,
        ),
        _settled(
            "customer_returnable",
            "orders",
            "Orders behind `customer_return_rate`,",
            RETURNS.settled_after,
        ),
    ),
)
