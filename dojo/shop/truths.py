"""The possible label of each of the shop's events. A spec names one of these (`label.truth`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from dojo.shop.events import (
    BANNERS,
    CREDITS,
    MEMBERSHIPS,
    OFFERS,
    ORDERS,
    SEARCHES,
    SUGGESTIONS,
    TRANSACTIONS,
)

# Amounts at which a payment's grade rises, euro. Examples are a coffee, a lunch and a dress.
GRADE_EDGES = (10.0, 30.0, 100.0)

# Grades of a product in a list.
CLICKED, BOUGHT = 1, 2


@dataclass(frozen=True)
class LabelFacts:
    """What a new model's spec says about its label at first (dojo/scaffold).

    Attributes:
        says: What the label is, for people.
        task: The task that predicts it.
        unit: Unit of the label.
        low: Smallest possible label, in its unit.
        high: Largest possible label, in its unit.
        median: Half of the labels arrive within it.
        sigma: Spread of the delay's logarithm, dimensionless.
        maximum: All labels have arrived after it.
        typical: Lowest and highest plausible mean of a training set. Of a ranking it is the share
            above grade 0.
        usual: The answer without any version.
    """

    says: str
    task: str
    unit: str
    low: float
    high: float
    median: str
    sigma: float
    maximum: str
    typical: tuple[float, float]
    usual: float


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
        facts: What a new model's spec says about it.
    """

    stream: str
    of: Callable[[], pl.Expr]
    facts: LabelFacts
    known_after: str | None = None
    best: str | None = None


def _grade_in_list() -> pl.Expr:
    seen = pl.col("position") <= pl.col("seen_until")
    return pl.when(seen).then(pl.col("grade")).otherwise(0)


def _of_a_list(stream: str) -> Truth:
    return Truth(
        stream,
        _grade_in_list,
        LabelFacts(
            says="2 for a product that the customer buys, 1 for a click, else 0",
            task="ranking",
            unit="grade",
            low=0,
            high=BOUGHT,
            median="29m",
            sigma=0.02,
            maximum="30m",
            typical=(0.01, 0.30),
            usual=0,
        ),
        known_after="known_days",
        best="relevance",
    )


TRUTHS: Mapping[str, Truth] = {
    "fraud": Truth(
        TRANSACTIONS,
        lambda: pl.col("label"),
        LabelFacts(
            says="1 for a payment that its holder did not make",
            task="binary",
            unit="0 or 1",
            low=0,
            high=1,
            median="2d",
            sigma=0.8,
            maximum="7d",
            typical=(0.005, 0.05),
            usual=0,
        ),
    ),
    "amount": Truth(
        TRANSACTIONS,
        lambda: pl.col("amount"),
        LabelFacts(
            says="the payment's amount",
            task="regression",
            unit="euro",
            low=0,
            high=1_000_000,
            median="2h",
            sigma=0.5,
            maximum="12h",
            typical=(5, 200),
            usual=50,
        ),
    ),
    "spending_grade": Truth(
        TRANSACTIONS,
        lambda: pl.sum_horizontal(pl.col("amount") >= edge for edge in GRADE_EDGES),
        LabelFacts(
            says="0 to 3, by the payment's amount",
            task="ranking",
            unit="grade",
            low=0,
            high=len(GRADE_EDGES),
            median="2h",
            sigma=0.5,
            maximum="12h",
            typical=(0.3, 0.95),
            usual=0,
        ),
    ),
    "delivery_days": Truth(
        ORDERS,
        lambda: pl.col("delivery_days"),
        LabelFacts(
            says="from the order to the customer's door",
            task="regression",
            unit="days",
            low=0,
            high=15,
            median="78h",
            sigma=0.45,
            maximum="14d",
            typical=(1, 10),
            usual=5,
        ),
        "delivery_days",
        "usual_days",
    ),
    "returned": Truth(
        ORDERS,
        lambda: pl.col("returned"),
        LabelFacts(
            says="1 for an order that the customer sends back",
            task="binary",
            unit="0 or 1",
            low=0,
            high=1,
            median="708h",
            sigma=0.02,
            maximum="30d",
            typical=(0.02, 0.30),
            usual=0.08,
        ),
        "settled_days",
        "return_chance",
    ),
    "clicked": Truth(
        BANNERS,
        lambda: pl.col("clicked"),
        LabelFacts(
            says="1 for a banner that the customer clicks",
            task="binary",
            unit="0 or 1",
            low=0,
            high=1,
            median="29m",
            sigma=0.02,
            maximum="30m",
            typical=(0.01, 0.20),
            usual=0.04,
        ),
        "known_days",
        "click_chance",
    ),
    "cancelled": Truth(
        MEMBERSHIPS,
        lambda: pl.col("cancelled"),
        LabelFacts(
            says="1 for a member who cancels within 30 days of the statement",
            task="binary",
            unit="0 or 1",
            low=0,
            high=1,
            median="708h",
            sigma=0.02,
            maximum="30d",
            typical=(0.03, 0.30),
            usual=0.12,
        ),
        "decided_days",
        "cancel_chance",
    ),
    "spent_30d": Truth(
        MEMBERSHIPS,
        lambda: pl.col("spent_30d"),
        LabelFacts(
            says="what the member pays in the 30 days from the next midnight on",
            task="regression",
            unit="euro",
            low=0,
            high=1_000_000,
            median="728h",
            sigma=0.01,
            maximum="31d",
            typical=(500, 10_000),
            usual=2_000,
        ),
        "counted_days",
        "usual_spend",
    ),
    "defaulted": Truth(
        CREDITS,
        lambda: pl.col("defaulted"),
        LabelFacts(
            says="1 for a purchase on credit that the customer does not pay",
            task="binary",
            unit="0 or 1",
            low=0,
            high=1,
            median="59d",
            sigma=0.02,
            maximum="60d",
            typical=(0.01, 0.20),
            usual=0.06,
        ),
        "repaid_days",
        "default_chance",
    ),
    "units": Truth(
        OFFERS,
        lambda: pl.col("units"),
        LabelFacts(
            says="units of the product that are sold on its day",
            task="regression",
            unit="units",
            low=0,
            high=10_000,
            median="24h",
            sigma=0.01,
            maximum="25h",
            typical=(1, 50),
            usual=6,
        ),
        "sold_days",
        "usual_units",
    ),
    "result_grade": _of_a_list(SEARCHES),
    "suggestion_grade": _of_a_list(SUGGESTIONS),
}


def truth(name: str) -> pl.Expr:
    """Return the expression of each event's label, Float64.

    Raises:
        KeyError: There is no such truth.
    """
    return TRUTHS[name].of().cast(pl.Float64)
