"""What is known at a midnight about offered products (feature_repo/midnights.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import polars as pl

from feature_repo.columns import as_view, ratio, scaled
from feature_repo.midnights import at_midnights, settled, with_labels
from feature_repo.offers.views import OFFERS, PRODUCT_OFFERS, UNITS, WEEK_DAYS, WINDOW_DAYS

# Sums of whole units are equal in any order.
UNITS_PER_LEVEL = 1000


def product_offers(offers: pl.DataFrame, units: pl.DataFrame, days: Iterable[date]) -> pl.DataFrame:
    """Return the product_offers view at the midnights that begin `days`.

    Args:
        offers: Lake columns, unique by offer_id.
        units: Lake columns of the outcomes, in the order they became known.
        days: The wanted days.

    Returns:
        product_id, event_timestamp, features (Float64).
    """

    def sums(midnight: date) -> Sequence[pl.Expr]:
        return (
            settled("gained", midnight, WEEK_DAYS, UNITS).alias("week_units"),
            settled("new", midnight, WEEK_DAYS, UNITS).alias("week"),
            settled("gained", midnight, WINDOW_DAYS, UNITS).alias("month_units"),
            settled("new", midnight, WINDOW_DAYS, UNITS).alias("month"),
            settled("levels", midnight, WINDOW_DAYS, UNITS).alias("month_levels"),
        )

    priced = offers.with_columns(level=ratio("price", "regular_price"))
    rows = with_labels(priced, units, OFFERS.key, UNITS).with_columns(
        levels=scaled("level", UNITS_PER_LEVEL) * pl.col("new")
    )
    found = at_midnights(rows, PRODUCT_OFFERS, days, sums).with_columns(
        ratio("week_units", "week").alias("product_units_7d"),
        ratio("month_units", "month").alias("product_units_28d"),
        ratio("month_levels", "month", UNITS_PER_LEVEL).alias("product_price_level_28d"),
    )
    return as_view(found, PRODUCT_OFFERS)
