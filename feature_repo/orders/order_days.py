"""What is known at a midnight about sellers, products and buyers (feature_repo/midnights.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import polars as pl

from feature_repo.columns import as_view, ratio, scaled
from feature_repo.midnights import at_midnights, last, settled, with_labels
from feature_repo.orders.events import DELIVERIES, ORDERS, RETURNS
from feature_repo.orders.views import (
    CUSTOMER_ORDERS,
    PRODUCT_ORDERS,
    SELLER_ORDERS,
    WEEK_DAYS,
    WINDOW_DAYS,
)
from feature_repo.shop.payments import CENTS_PER_EURO

MINUTES_PER_DAY = 24 * 60


def seller_orders(
    orders: pl.DataFrame, deliveries: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the seller_orders view at the midnights that begin `days`.

    Args:
        orders: Lake columns, unique by order_id.
        deliveries: Lake columns of the outcomes, in the order they became known.
        days: The wanted days.

    Returns:
        merchant_id, event_timestamp, features (Float64).
    """

    def sums(midnight: date) -> Sequence[pl.Expr]:
        return (
            last("new", midnight, WEEK_DAYS).alias("seller_orders_7d"),
            last("new", midnight, WINDOW_DAYS).alias("seller_orders_30d"),
            settled("gained", midnight, WINDOW_DAYS, DELIVERIES).alias("took"),
            settled("new", midnight, WINDOW_DAYS, DELIVERIES).alias("seller_delivered"),
        )

    rows = with_labels(orders, deliveries, ORDERS.key, DELIVERIES, MINUTES_PER_DAY)
    found = at_midnights(rows, SELLER_ORDERS, days, sums)
    mean = ratio("took", "seller_delivered", MINUTES_PER_DAY)
    return as_view(found.with_columns(seller_delivery_mean=mean), SELLER_ORDERS)


def product_orders(
    orders: pl.DataFrame, returns: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the product_orders view. Arguments and result are as in `seller_orders`."""

    def sums(midnight: date) -> Sequence[pl.Expr]:
        return (
            last("new", midnight, WEEK_DAYS).alias("product_orders_7d"),
            last("new", midnight, WINDOW_DAYS).alias("product_orders_30d"),
            last("cents", midnight, WINDOW_DAYS).alias("cents"),
            settled("gained", midnight, WINDOW_DAYS, RETURNS).alias("returned"),
            settled("new", midnight, WINDOW_DAYS, RETURNS).alias("returnable"),
        )

    cents = orders.with_columns(cents=scaled("price", CENTS_PER_EURO))
    rows = with_labels(cents, returns, ORDERS.key, RETURNS)
    return as_view(
        at_midnights(rows, PRODUCT_ORDERS, days, sums).with_columns(
            product_price_mean=ratio("cents", "product_orders_30d", CENTS_PER_EURO),
            product_return_rate=ratio("returned", "returnable"),
        ),
        PRODUCT_ORDERS,
    )


def customer_orders(
    orders: pl.DataFrame, returns: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the customer_orders view. Arguments and result are as in `seller_orders`."""

    def sums(midnight: date) -> Sequence[pl.Expr]:
        return (
            last("new", midnight, WINDOW_DAYS).alias("customer_orders_30d"),
            last("express", midnight, WINDOW_DAYS).alias("express_orders"),
            settled("gained", midnight, WINDOW_DAYS, RETURNS).alias("returned"),
            settled("new", midnight, WINDOW_DAYS, RETURNS).alias("customer_returnable"),
        )

    rows = with_labels(orders, returns, ORDERS.key, RETURNS)
    return as_view(
        at_midnights(rows, CUSTOMER_ORDERS, days, sums).with_columns(
            customer_express_share=ratio("express_orders", "customer_orders_30d"),
            customer_return_rate=ratio("returned", "customer_returnable"),
        ),
        CUSTOMER_ORDERS,
    )
