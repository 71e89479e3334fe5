"""A day's ordinary payments in the synthetic world, without fraud."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from services.simulator.town.population import Floats, Habits, Ints, Population
from services.simulator.town.rhythm import WEEKDAY_FACTOR, times_of_day

# Now and then an honest customer buys something big, so that an unusual amount alone proves
# nothing.
BIG_PURCHASE_SHARE = 0.004
BIG_PURCHASE_FACTOR = (3.0, 9.0)


@dataclass(frozen=True)
class Payments:
    """Payments as arrays of one length.

    Attributes:
        seat: Customer's seat.
        merchant: Merchant's number.
        seconds: Seconds after midnight.
        amount: Amount, euro.
        label: 1 for fraud, else 0.
    """

    seat: Ints
    merchant: Ints
    seconds: Floats
    amount: Floats
    label: npt.NDArray[np.int8]

    def __add__(self, other: Payments) -> Payments:
        return Payments(
            *(
                np.concatenate([getattr(self, n), getattr(other, n)])
                for n in self.__dataclass_fields__
            )
        )


def ordinary_payments(
    population: Population, habits: Habits, day: date, random: np.random.Generator
) -> Payments:
    """Payments of customers with these habits on a day without fraud, not in order of time."""
    counts = random.poisson(habits.rate * WEEKDAY_FACTOR[day.weekday()])
    seat = np.repeat(np.arange(population.customers), counts)
    n = len(seat)
    # A customer who is away pays all day near another customer's home.
    away = random.random(population.customers) < habits.away
    elsewhere = random.integers(0, population.customers, population.customers)
    area = np.where(away, elsewhere, np.arange(population.customers))[seat]
    merchant = population.choose_merchants(area, random.random(n))
    return Payments(
        seat,
        merchant,
        times_of_day(random.random(n), day),
        amounts(population, habits, seat, merchant, random)
        * np.where(
            random.random(n) < BIG_PURCHASE_SHARE, random.uniform(*BIG_PURCHASE_FACTOR, n), 1.0
        ),
        np.zeros(n, dtype=np.int8),
    )


def amounts(
    population: Population, habits: Habits, seat: Ints, merchant: Ints, random: np.random.Generator
) -> Floats:
    """Each customer's usual amount at that merchant, with the spread of both, euro."""
    sigma = np.hypot(habits.variation[seat], population.spread[merchant])
    euro: Floats = (
        habits.mean_amount[seat] * population.price[merchant] * random.lognormal(0.0, sigma)
    )
    return euro
