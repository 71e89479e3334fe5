"""The possible label of each of the shop's events. A spec names one of these (`label.truth`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from dojo.shop.events import BANNERS, ORDERS, TRANSACTIONS

# Amounts at which a payment's grade rises, euro. Examples are a coffee, a lunch and a dress.
GRADE_EDGES = (10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Truth:
    """What is true of each event of a stream.

    Attributes:
        stream: The stream.
        of: Makes the expression, on the columns of the world's rows with their hidden ones.
        known_after: Column of the days until it is known. Without it, the delay is drawn as the
            spec describes it.
        best: Column of the best possible prediction, made by someone who knows the whole world
            but not its chance.
        acted_on: True if the shop acts on answers that flag it (dojo/shop/decisions.py).
    """

    stream: str
    of: Callable[[], pl.Expr]
    known_after: str | None = None
    best: str | None = None
    acted_on: bool = False


TRUTHS: Mapping[str, Truth] = {
    # 1 for a payment that its holder did not make, else 0
    "fraud": Truth(TRANSACTIONS, lambda: pl.col("label"), acted_on=True),
    # euro
    "amount": Truth(TRANSACTIONS, lambda: pl.col("amount")),
    # 0 to 3
    "spending_grade": Truth(
        TRANSACTIONS,
        lambda: pl.sum_horizontal(pl.col("amount") >= edge for edge in GRADE_EDGES),
    ),
    # days from the order to the customer's door
    "delivery_days": Truth(ORDERS, lambda: pl.col("delivery_days"), "delivery_days", "usual_days"),
    # 1 for an order that the customer sends back, else 0
    "returned": Truth(ORDERS, lambda: pl.col("returned"), "settled_days", "return_chance"),
    # 1 for a banner that the customer clicks, else 0
    "clicked": Truth(BANNERS, lambda: pl.col("clicked"), "known_days", "click_chance"),
}


def truth(name: str) -> pl.Expr:
    """Return the expression of each event's label, Float64.

    Raises:
        KeyError: There is no such truth.
    """
    return TRUTHS[name].of().cast(pl.Float64)
