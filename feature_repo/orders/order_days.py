"""What is known at a midnight about those who sell, are sold and buy.

A midnight's rows depend only on earlier events. So a day computed alone equals the same day in a
year's run. Values are whole units (cents, minutes), because their sums are equal in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta

import polars as pl

from feature_repo.columns import as_view, between, keys_of, ratio, scaled, within
from feature_repo.orders.events import DELIVERIES, RETURNS
from feature_repo.orders.views import (
    CUSTOMER_ORDERS,
    PRODUCT_ORDERS,
    RETURN_MEMORY,
    SELLER_MEMORY,
    SELLER_ORDERS,
    WEEK_DAYS,
    WINDOW_DAYS,
)
from feature_repo.views import BatchView, published_at

CENTS_PER_EURO = 100
MINUTES_PER_DAY = 24 * 60

NEVER = date.max

# Sums per entity at a midnight.
Sums = Callable[[date], Sequence[pl.Expr]]


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
    settled = DELIVERIES.settled_after
    rows = _labelled(orders, deliveries, settled, MINUTES_PER_DAY)

    def sums(midnight: date) -> Sequence[pl.Expr]:
        known = _known(midnight, settled)
        return (
            _last("new", midnight, WEEK_DAYS).alias("orders_week"),
            _last("new", midnight, WINDOW_DAYS).alias("orders"),
            pl.col("label").filter(known).sum().alias("took"),
            pl.col("label").filter(known).len().alias("delivered"),
        )

    found = _at_midnights(rows, SELLER_ORDERS, days, SELLER_MEMORY, sums)
    return as_view(
        found.select(
            *_keys(SELLER_ORDERS),
            pl.col("orders_week").alias("seller_orders_7d"),
            pl.col("orders").alias("seller_orders_30d"),
            ratio("took", "delivered", MINUTES_PER_DAY).alias("seller_delivery_mean"),
            pl.col("delivered").alias("seller_delivered"),
        ),
        SELLER_ORDERS,
    )


def product_orders(
    orders: pl.DataFrame, returns: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the product_orders view. Arguments and result are as in `seller_orders`."""
    settled = RETURNS.settled_after
    rows = _labelled(orders, returns, settled)

    def sums(midnight: date) -> Sequence[pl.Expr]:
        known = _known(midnight, settled)
        return (
            _last("new", midnight, WEEK_DAYS).alias("orders_week"),
            _last("new", midnight, WINDOW_DAYS).alias("orders"),
            _last("cents", midnight, WINDOW_DAYS).alias("cents"),
            pl.col("label").filter(known).sum().alias("returned"),
            pl.col("label").filter(known).len().alias("returnable"),
        )

    found = _at_midnights(rows, PRODUCT_ORDERS, days, RETURN_MEMORY, sums)
    return as_view(
        found.select(
            *_keys(PRODUCT_ORDERS),
            pl.col("orders_week").alias("product_orders_7d"),
            pl.col("orders").alias("product_orders_30d"),
            ratio("cents", "orders", CENTS_PER_EURO).alias("product_price_mean"),
            ratio("returned", "returnable").alias("product_return_rate"),
        ),
        PRODUCT_ORDERS,
    )


def customer_orders(
    orders: pl.DataFrame, returns: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the customer_orders view. Arguments and result are as in `seller_orders`."""
    settled = RETURNS.settled_after
    rows = _labelled(orders, returns, settled)

    def sums(midnight: date) -> Sequence[pl.Expr]:
        known = _known(midnight, settled)
        return (
            _last("new", midnight, WINDOW_DAYS).alias("orders"),
            _last("express", midnight, WINDOW_DAYS).alias("express"),
            pl.col("label").filter(known).sum().alias("returned"),
            pl.col("label").filter(known).len().alias("returnable"),
        )

    found = _at_midnights(rows, CUSTOMER_ORDERS, days, RETURN_MEMORY, sums)
    return as_view(
        found.select(
            *_keys(CUSTOMER_ORDERS),
            pl.col("orders").alias("customer_orders_30d"),
            ratio("express", "orders").alias("customer_express_share"),
            ratio("returned", "returnable").alias("customer_return_rate"),
            pl.col("returnable").alias("customer_returnable"),
        ),
        CUSTOMER_ORDERS,
    )


def _labelled(
    orders: pl.DataFrame, outcomes: pl.DataFrame, settled: timedelta, scale: int = 1
) -> pl.DataFrame:
    """Return a row for each outcome of an order, and one for each order without any, by day.

    Args:
        settled: Time after an order from which features take its outcome as final.
        scale: Whole units in one of the label.

    Returns:
        The keys, `day` of the order, and whole numbers. `new`, `cents` and `express` are 0 in the
        rows of corrections. The label counts from the midnight `known_from` on, until before
        `known_until`.
    """
    arrived = outcomes.select(
        order_id="request_id", label=scaled("label", scale), arrival=pl.col("world_time").dt.date()
    )
    # An order's outcomes follow each other in the order they became known.
    rows = orders.join(arrived, on="order_id", how="left", maintain_order="left_right")
    again = (pl.col("order_id") == pl.col("order_id").shift()).fill_null(value=False)
    day, new = pl.col("world_time").dt.date(), (~again).cast(pl.Int64)
    known_from = (
        pl.when(pl.col("arrival").is_not_null())
        .then(
            pl.max_horizontal(day + settled + timedelta(days=1), pl.col("arrival") + timedelta(1))
        )
        .otherwise(NEVER)
    )
    corrected = pl.col("order_id").shift(-1) == pl.col("order_id")
    return (
        rows.with_columns(known_from=known_from)
        .select(
            "customer_id",
            "merchant_id",
            "product_id",
            "label",
            "known_from",
            day=day,
            new=new,
            cents=scaled("price", CENTS_PER_EURO) * new,
            express=pl.col("express").cast(pl.Int64) * new,
            known_until=pl.when(corrected).then(pl.col("known_from").shift(-1)).otherwise(NEVER),
        )
        .sort("day", maintain_order=True)
    )


def _last(column: str, midnight: date, days: int) -> pl.Expr:
    return pl.col(column).filter(within(midnight, days)).sum()


def _known(midnight: date, settled: timedelta) -> pl.Expr:
    """Return the condition for labels of the settled window that count at `midnight`."""
    return (
        within(midnight, WINDOW_DAYS, settled.days)
        & (pl.col("known_from") <= midnight)
        & (pl.col("known_until") > midnight)
    )


def _at_midnights(
    rows: pl.DataFrame, view: BatchView, days: Iterable[date], memory: timedelta, sums: Sums
) -> pl.DataFrame:
    """Return the sums of each entity seen within the memory, at each midnight."""
    keyed = rows.with_columns(pl.col(view.key).cast(keys_of(rows, view.key)))
    found = [
        between(keyed, day, memory.days + 1)
        .group_by(view.key)
        .agg(*sums(day))
        .with_columns(event_timestamp=pl.lit(published_at(day)))
        for day in days
    ]
    if not found:
        return (
            keyed.clear()
            .group_by(view.key)
            .agg(*sums(NEVER))
            .with_columns(event_timestamp=pl.lit(None, pl.Datetime("us", "UTC")))
        )
    return pl.concat(found)


def _keys(view: BatchView) -> tuple[str, str]:
    return view.key, "event_timestamp"
