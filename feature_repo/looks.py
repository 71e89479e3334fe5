"""Sums over products in lists: how often they are looked at, and what comes of it.

Clicks of a product depend on its positions. Clicks per look do not (dojo/shop/lists.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import polars as pl

from dojo.shop.lists import weight
from feature_repo.columns import as_view, scaled
from feature_repo.list_views import CAUTION_LOOKS, WEEK_DAYS, WINDOW_DAYS
from feature_repo.midnights import at_midnights, last, settled, with_labels
from feature_repo.views import BatchView

# A look is a share of people. Sums of whole units are equal in any order.
UNITS_PER_LOOK = 1000


def products_in_lists(
    shown: pl.DataFrame, grades: pl.DataFrame, days: Iterable[date], view: BatchView
) -> pl.DataFrame:
    """Return a view of products at the midnights that begin `days`.

    Args:
        shown: Lake columns of the products in lists, unique by key.
        grades: Lake columns of the outcomes, in the order they became known.
        days: The wanted days.
        view: Its features are those of `list_views.py`, its sources those of both frames.

    Returns:
        product_id, event_timestamp, features (Float64).
    """
    events, labels = view.sources
    number, week_appeal, month_appeal = view.names

    def sums(midnight: date) -> Sequence[pl.Expr]:
        return (
            last("new", midnight, WEEK_DAYS).alias(number),
            settled("gained", midnight, WEEK_DAYS, labels).alias("week_grades"),
            settled("looks", midnight, WEEK_DAYS, labels).alias("week_looks"),
            settled("gained", midnight, WINDOW_DAYS, labels).alias("month_grades"),
            settled("looks", midnight, WINDOW_DAYS, labels).alias("month_looks"),
        )

    looked = shown.with_columns(look=1 / weight(pl.col("position")))
    rows = with_labels(looked, grades, events.key, labels).with_columns(
        looks=scaled("look", UNITS_PER_LOOK) * pl.col("new")
    )
    found = at_midnights(rows, view, days, sums).with_columns(
        _appeal("week").alias(week_appeal), _appeal("month").alias(month_appeal)
    )
    return as_view(found, view)


def _appeal(window: str) -> pl.Expr:
    looks = pl.col(f"{window}_looks") / UNITS_PER_LOOK
    return pl.col(f"{window}_grades") / (looks + CAUTION_LOOKS)
