"""What is known at a midnight about suggested products (feature_repo/looks.py)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl

from feature_repo.looks import products_in_lists
from feature_repo.suggestions.views import PRODUCT_SUGGESTIONS


def product_suggestions(
    suggestions: pl.DataFrame, grades: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the product_suggestions view, as `products_in_lists`."""
    return products_in_lists(suggestions, grades, days, PRODUCT_SUGGESTIONS)
