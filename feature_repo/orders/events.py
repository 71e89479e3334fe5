"""Orders, and what becomes known about them."""

from __future__ import annotations

from datetime import timedelta

from dojo.shop.events import ORDERS as STREAM
from feature_repo.views import EventSource, labels_of

LOGISTICS, CUSTOMER_CARE = "logistics", "customer-care"

ORDERS = EventSource(
    stream=STREAM,
    key="order_id",
    columns=(
        "order_id",
        "customer_id",
        "merchant_id",
        "product_id",
        "world_time",
        "price",
        "express",
        "distance_km",
        "category",
        "carrier",
    ),
)

DELIVERIES = labels_of("delivery_time", settled_after=timedelta(days=14))

RETURNS = labels_of("return_risk", settled_after=timedelta(days=30))
