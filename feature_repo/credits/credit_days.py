"""What is known at a midnight about customers who pay later (feature_repo/midnights.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import polars as pl

from feature_repo.columns import as_view, scaled, unscaled
from feature_repo.credits.views import CUSTOMER_CREDITS, WEEK_DAYS, WINDOW_DAYS
from feature_repo.midnights import at_midnights, last
from feature_repo.shop.payments import CENTS_PER_EURO


def customer_credits(credits: pl.DataFrame, days: Iterable[date]) -> pl.DataFrame:
    """Return the customer_credits view at the midnights that begin `days`.

    Args:
        credits: Lake columns, unique by credit_id.
        days: The wanted days.

    Returns:
        customer_id, event_timestamp, features (Float64).
    """

    def sums(midnight: date) -> Sequence[pl.Expr]:
        return (
            last("new", midnight, WEEK_DAYS).alias("customer_credits_7d"),
            last("new", midnight, WINDOW_DAYS).alias("customer_credits_30d"),
            last("cents", midnight, WINDOW_DAYS).alias("cents"),
        )

    rows = credits.with_columns(new=pl.lit(1, pl.Int64), cents=scaled("amount", CENTS_PER_EURO))
    found = at_midnights(rows, CUSTOMER_CREDITS, days, sums)
    euro = unscaled(pl.col("cents"), CENTS_PER_EURO)
    return as_view(found.with_columns(customer_credit_euro_30d=euro), CUSTOMER_CREDITS)
