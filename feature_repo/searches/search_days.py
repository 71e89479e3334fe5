"""What is known at a midnight about products in searches (feature_repo/looks.py)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl

from feature_repo.looks import products_in_lists
from feature_repo.searches.views import PRODUCT_SEARCHES


def product_searches(
    results: pl.DataFrame, grades: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the product_searches view, as `products_in_lists`."""
    return products_in_lists(results, grades, days, PRODUCT_SEARCHES)
