"""The synthetic world: a town of customers and merchants with fraud in it, decided by a seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import numpy as np
import polars as pl

from dojo.core.lake import start_of
from dojo.shop.datasets import TRANSACTION_SCHEMA
from dojo.shop.events import (
    BANNERS,
    CREDITS,
    MEMBERSHIPS,
    OFFERS,
    ORDERS,
    SEARCHES,
    SUGGESTIONS,
)
from dojo.shop.world_drift import ActiveDrift
from services.simulator.sources.source import Scene
from services.simulator.town.credits import Credits
from services.simulator.town.fraud import FraudPatterns
from services.simulator.town.fraud_drift import FraudDrift
from services.simulator.town.ids import customer_id, numbered
from services.simulator.town.lists import SEARCH, SUGGESTION, Lists
from services.simulator.town.memberships import Memberships
from services.simulator.town.offers import Offers
from services.simulator.town.orders import Orders
from services.simulator.town.payments import Payments, ordinary_payments
from services.simulator.town.population import Ints, Population
from services.simulator.town.shopping import Shopping
from services.simulator.town.visits import Visits

# Raised when the same seed gives other transactions than before. Worlds of different generations
# must not be mixed.
GENERATION = 1

# Days of payments that are kept. Several streams of a day ask for them, and memberships look a
# month ahead. In a town of 5,000 these are 30 MB.
KEPT_DAYS = 36

FIRST_DAY = date(2015, 1, 1)  # a bound that leaves room for any history, nothing starts here


class SyntheticSource:
    """Transactions of a synthetic town. Each customer pays about twice a day.

    Args:
        seed: The same seed gives the same world, day by day.
        fraud_rate: Share of fraudulent transactions, a fraction. Measured over weeks it lies within
            some percent of this.
        shift: First day on which fraudsters use a new method (services/simulator/town/fraud.py).
            None is never.
    """

    def __init__(
        self,
        seed: int,
        customers: int,
        merchants: int,
        fraud_rate: float,
        shift: date | None = None,
    ) -> None:
        self._seed = seed
        self._fraud_rate = fraud_rate
        self._population = Population(seed, customers, merchants)
        orders = Orders(self._population, seed)
        shopping = Shopping(self._population, orders, self.day)
        self.scenes: Mapping[str, Scene] = {
            ORDERS: orders,
            BANNERS: Visits(self._population, seed),
            MEMBERSHIPS: Memberships(self._population, seed, shopping),
            CREDITS: Credits(self._population, seed),
            OFFERS: Offers(customers, orders, seed),
            SEARCHES: Lists(self._population, orders, seed, SEARCH),
            SUGGESTIONS: Lists(self._population, orders, seed, SUGGESTION),
        }
        self._kept: dict[date, pl.DataFrame] = {}
        self._shift = shift
        self._fraud = FraudPatterns(self._population, seed, fraud_rate, shift)
        self._drift = FraudDrift(self._fraud, seed)

    def day(self, day: date) -> pl.DataFrame:
        if day not in self._kept:
            self._kept[day] = self.day_under(day, ())
            # The oldest made goes, not the oldest asked for. Else days of the month ahead would go
            # before their turn, and half of the days would be made twice.
            if len(self._kept) > KEPT_DAYS:
                del self._kept[next(iter(self._kept))]
        return self._kept[day]

    def day_under(self, day: date, drifts: Iterable[ActiveDrift]) -> pl.DataFrame:
        """The day with the fraud that drifts of the fraudsters' method cause.

        Honest payments are the same, with the same ids.
        """
        random = np.random.default_rng([self._seed, 5, day.toordinal()])
        generation, habits = self._population.inhabitants(day)
        ordinary = ordinary_payments(self._population, habits, day, random)
        payments = self._fraud.commit(ordinary, habits, day, random)
        numbers = np.empty(len(payments.seconds), dtype=np.int64)
        numbers[np.argsort(payments.seconds, kind="stable")] = np.arange(len(numbers))
        if drifts := tuple(drifts):
            payments, numbers = self._drift.change(ordinary, payments, numbers, habits, day, drifts)
        return _frame(payments, numbers, generation, day)

    def days(self) -> tuple[date, date | None]:
        return FIRST_DAY, None

    def identity(self) -> Mapping[str, object]:
        return {
            "source": "synthetic",
            "generation": GENERATION,
            "seed": self._seed,
            "customers": self._population.customers,
            "merchants": self._population.merchants,
            "fraud_rate": self._fraud_rate,
            "fraud_shift": self._shift.isoformat() if self._shift else None,
        }


def _frame(payments: Payments, numbers: Ints, generation: Ints, day: date) -> pl.DataFrame:
    """Payments as rows in order of time.

    An id tells the day and the number in it.
    """
    order = np.argsort(payments.seconds, kind="stable")
    seat = payments.seat[order]
    microseconds = int(start_of(day).timestamp()) * 1_000_000 + (
        payments.seconds[order] * 1e6
    ).astype(np.int64)
    columns = pl.DataFrame(
        {
            "number": numbers[order],
            "seat": seat,
            "generation": generation[seat],
            "merchant": payments.merchant[order],
            "time": microseconds,
            "amount": np.maximum(payments.amount[order].round(2), 0.01),
            "label": payments.label[order],
        }
    )
    return columns.select(
        numbered(f"{day:%Y%m%d}-", "number", 7).alias("transaction_id"),
        customer_id("seat", "generation").alias("customer_id"),
        numbered("M", "merchant", 5).alias("merchant_id"),
        *("time", "amount", "label"),
    ).cast(TRANSACTION_SCHEMA)  # type: ignore[arg-type]
