"""The possible label of a payment. A spec names one of these (`label.truth`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

# Amounts at which a payment's grade rises, euro. Examples are a coffee, a lunch and a dress.
GRADE_EDGES = (10.0, 30.0, 100.0)

# Name -> expression of the label, on a payment's columns with its hidden `label`
# (dojo/shop/datasets.py).
TRUTHS: Mapping[str, Callable[[], pl.Expr]] = {
    "fraud": lambda: pl.col("label"),  # 1 for a payment that its holder did not make, else 0
    "amount": lambda: pl.col("amount"),  # euro
    "spending_grade": lambda: pl.sum_horizontal(
        pl.col("amount") >= edge for edge in GRADE_EDGES
    ),  # 0 to 3
}


def truth(name: str) -> pl.Expr:
    """Return the expression of each payment's label, Float64.

    Raises:
        KeyError: There is no such truth.
    """
    return TRUTHS[name]().cast(pl.Float64)
