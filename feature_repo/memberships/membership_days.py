"""What is known at a midnight about members (feature_repo/midnights.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from feature_repo.columns import as_view, between, keys_of, ratio, scaled, unscaled, within
from feature_repo.memberships.events import CANCELLATIONS, STATEMENTS
from feature_repo.memberships.views import (
    CUSTOMER_MEMBERSHIP,
    CUSTOMER_SERVICE,
    CUSTOMER_SPENDING,
    DECISIONS_DAYS,
    LATE_AFTER_DAYS,
    LIFETIME_DAYS,
    WINDOW_DAYS,
)
from feature_repo.midnights import at_midnights, last, settled, with_labels
from feature_repo.orders.events import DELIVERIES, ORDERS, RETURNS
from feature_repo.shop.payments import CENTS_PER_EURO
from feature_repo.views import EventSource, published_at


def customer_spending(transactions: pl.DataFrame, days: Iterable[date]) -> pl.DataFrame:
    """Return the customer_spending view at the midnights that begin `days`.

    Args:
        transactions: Lake columns, unique by transaction_id.
        days: The wanted days.

    Returns:
        customer_id, event_timestamp, features (Float64).
    """
    by_day = (
        transactions.lazy()
        .select(
            pl.col("customer_id").cast(keys_of(transactions, "customer_id")),
            day=pl.col("world_time").dt.date(),
            cents=scaled("amount", CENTS_PER_EURO),
        )
        .group_by("customer_id", "day")
        .agg(pl.col("cents").sum())
        .sort("day")
        .collect()
    )
    rows = [
        between(by_day, midnight, LIFETIME_DAYS)
        .group_by("customer_id")
        .agg(
            pl.col("cents").sum(),
            month=pl.col("cents").filter(within(midnight, WINDOW_DAYS)).sum(),
            known_days=(pl.lit(midnight) - pl.col("day").min()).dt.total_days(),
        )
        .select(
            "customer_id",
            pl.lit(published_at(midnight)).alias("event_timestamp"),
            unscaled(pl.col("cents"), CENTS_PER_EURO).alias("customer_lifetime_value"),
            ratio("cents", "known_days", CENTS_PER_EURO).alias("customer_spend_a_day"),
            unscaled(pl.col("month"), CENTS_PER_EURO).alias("customer_spend_30d"),
        )
        for midnight in days
    ]
    return as_view(pl.concat(rows) if rows else pl.DataFrame(), CUSTOMER_SPENDING)


def customer_service(
    orders: pl.DataFrame, deliveries: pl.DataFrame, returns: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the customer_service view. Arguments and result are as in `customer_spending`.

    Args:
        orders: Lake columns, unique by order_id.
        deliveries: Lake columns of the outcomes, in the order they became known.
        returns: Lake columns of the outcomes, in the order they became known.
        days: The wanted days.
    """
    late = (pl.col("label") > LATE_AFTER_DAYS).cast(pl.Float64)
    taken = with_labels(
        orders, deliveries.with_columns(label=late), ORDERS.key, _at_once(DELIVERIES)
    )
    sent_back = with_labels(orders, returns, ORDERS.key, _at_once(RETURNS))

    def parcels(midnight: date) -> Sequence[pl.Expr]:
        latest = (pl.lit(midnight) - pl.col("day").max()).dt.total_days()
        return (
            settled("gained", midnight, WINDOW_DAYS, _at_once(DELIVERIES)).alias(
                "customer_late_parcels_30d"
            ),
            (1.0 / latest).alias("customer_order_recency"),
        )

    def returned(midnight: date) -> Sequence[pl.Expr]:
        known = settled("gained", midnight, WINDOW_DAYS, _at_once(RETURNS))
        return (known.alias("customer_sent_back_30d"),)

    wanted = list(days)
    return as_view(
        at_midnights(taken, CUSTOMER_SERVICE, wanted, parcels).join(
            at_midnights(sent_back, CUSTOMER_SERVICE, wanted, returned),
            on=[CUSTOMER_SERVICE.key, "event_timestamp"],
        ),
        CUSTOMER_SERVICE,
    )


def customer_membership(
    statements: pl.DataFrame, cancellations: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the customer_membership view at the midnights that begin `days`.

    Args:
        statements: Lake columns, unique by membership_id.
        cancellations: Lake columns of the outcomes, in the order they became known.
        days: The wanted days.
    """

    def sums(midnight: date) -> Sequence[pl.Expr]:
        return (
            last("new", midnight, DECISIONS_DAYS).alias("customer_statements_90d"),
            settled("gained", midnight, DECISIONS_DAYS, CANCELLATIONS).alias(
                "customer_cancelled_90d"
            ),
        )

    rows = with_labels(statements, cancellations, STATEMENTS.key, CANCELLATIONS)
    return as_view(at_midnights(rows, CUSTOMER_MEMBERSHIP, days, sums), CUSTOMER_MEMBERSHIP)


def _at_once(labels: EventSource) -> EventSource:
    """Labels that count from the first midnight after they arrived.

    What a customer went through counts at once. A share of labels would be wrong this way, because
    some labels arrive earlier than others.
    """
    return replace(labels, settled_after=timedelta(0))
