"""What a label can say about a payment. A spec names one of these (`label.truth`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

# Euro at which a payment's grade rises: a coffee, a lunch, a dress.
GRADE_EDGES = (10.0, 30.0, 100.0)

# Name -> from the columns of a payment with its hidden `label` (dojo/shop/datasets.py) to what is learned about it.
TRUTHS: Mapping[str, Callable[[], pl.Expr]] = {
    "fraud": lambda: pl.col("label"),  # 1 for a payment that its holder did not make, else 0
    "amount": lambda: pl.col("amount"),  # euro
    "spending_grade": lambda: pl.sum_horizontal(pl.col("amount") >= edge for edge in GRADE_EDGES),  # 0 to 3
}


def truth(name: str) -> pl.Expr:
    """The label of each payment, Float64. Raises KeyError: there is no such truth."""
    return TRUTHS[name]().cast(pl.Float64)
