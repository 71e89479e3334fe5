"""The inhabitants of the synthetic world: customers with habits and homes, and merchants.

A *seat* is a home on the map. Its inhabitant changes every `TENURE_DAYS`, each seat on a day of its
own. So new customers without history keep appearing, while the town's size stays what the settings
say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MEAN_TRANSACTIONS_PER_DAY = 2.0  # of a customer, as settings.synthetic_customers documents
TENURE_DAYS = 1000  # 0.1 % of the customers are new each day
NEIGHBOURS = 30  # merchants within a customer's everyday reach

# Three numbers by category. The price level is a factor on the customer's own mean amount. The
# spread of prices within the category is the sigma of the logarithm. The last is its share of the
# merchants.
CATEGORIES: dict[str, tuple[float, float, float]] = {
    "grocery": (0.8, 0.25, 0.30),
    "restaurant": (0.7, 0.30, 0.25),
    "fuel": (1.1, 0.15, 0.10),
    "pharmacy": (0.5, 0.35, 0.10),
    "clothing": (1.5, 0.40, 0.15),
    "electronics": (2.6, 0.55, 0.10),
}


def category_names(kinds: Ints) -> pl.Series:
    """The names of kinds, which are numbers in CATEGORIES."""
    return pl.Series(list(CATEGORIES)).gather(kinds)


@dataclass(frozen=True)
class Habits:
    """How the customers of one generation pay. Arrays by seat.

    Attributes:
        mean_amount: Euro, at a merchant of price level 1.
        variation: Sigma of the logarithm of an amount.
        rate: Transactions per day, a weekly mean.
        away: Share of days spent in another part of town.
    """

    mean_amount: Floats
    variation: Floats
    rate: Floats
    away: Floats


class Population:
    """All customers and shops, decided by the seed.

    Attributes:
        homes: Positions of seats in the unit square, shape (n, 2).
        places: Positions of merchants in the unit square, shape (n, 2).
        price: Price level of each merchant, from its category.
        spread: Spread of prices of each merchant, from its category.
    """

    def __init__(self, seed: int, customers: int, merchants: int) -> None:
        self.customers, self.merchants = customers, merchants
        self._seed = seed
        random = np.random.default_rng([seed, 1])
        # People and shops gather around the same few centres. A tenth lives and sells anywhere.
        centres = random.random((8, 2))
        self.homes = _around(random, centres, customers)
        self.places = _around(random, centres, merchants)
        levels = np.array(list(CATEGORIES.values()))
        self.category = random.choice(len(levels), merchants, p=levels[:, 2])
        self.price = levels[self.category, 0] * random.lognormal(0.0, 0.2, merchants)
        self.spread = levels[self.category, 1]
        self._popularity = random.lognormal(0.0, 0.5, merchants)
        self._moves = random.integers(0, TENURE_DAYS, customers)
        self.habits = lru_cache(maxsize=4)(self._habits)

    @cached_property
    def near(self) -> Ints:
        """Each seat's nearest merchants, shape (customers, NEIGHBOURS or all merchants)."""
        count = min(NEIGHBOURS, self.merchants)
        rows = []
        for block in np.array_split(
            self.homes, max(1, self.customers // 500)
        ):  # 500 x 5000 distances: 20 MB at a time
            distances = ((block[:, None, :] - self.places[None, :, :]) ** 2).sum(axis=2)
            rows.append(np.sort(np.argpartition(distances, count - 1, axis=1)[:, :count], axis=1))
        return np.concatenate(rows)

    @cached_property
    def _near_cumulative(self) -> Floats:
        """Cumulative probability of each seat's merchants, by popularity."""
        weights: Floats = self._popularity[self.near]
        cumulative: Floats = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
        return cumulative

    @property
    def _near_shares(self) -> Floats:
        """Probability of each seat's merchants."""
        return np.diff(self._near_cumulative, axis=1, prepend=0.0)

    @cached_property
    def merchant_rate(self) -> Floats:
        """Expected transactions per day of each merchant, at an average customer's rate."""
        shares = self._near_shares
        per_customer = np.bincount(self.near.ravel(), shares.ravel(), self.merchants).astype(
            np.float64
        )
        return per_customer * MEAN_TRANSACTIONS_PER_DAY

    @cached_property
    def nearby_prices(self) -> tuple[Floats, Floats]:
        """Mean price level of each seat's payments at home, and mean of its square.

        A level has the spread of prices in it.
        """
        shares = self._near_shares
        mean = self.price[self.near] * np.exp(self.spread[self.near] ** 2 / 2)
        square = self.price[self.near] ** 2 * np.exp(2 * self.spread[self.near] ** 2)
        return (shares * mean).sum(axis=1), (shares * square).sum(axis=1)

    def _habits(self, generation: int) -> Habits:
        random = np.random.default_rng([self._seed, 2, generation])
        n = self.customers
        rate = random.gamma(3.0, 1.0, n)
        return Habits(
            mean_amount=random.lognormal(3.4, 0.6, n),  # median 30 euro
            variation=random.uniform(0.25, 0.6, n),
            rate=rate / rate.mean() * MEAN_TRANSACTIONS_PER_DAY,
            away=np.where(random.random(n) < 0.15, 0.2, 0.01),  # one customer in seven travels
        )

    def inhabitants(self, day: date) -> tuple[Ints, Habits]:
        """The inhabitant of each seat on a day.

        Returns the generation by seat, and the habits of those people.
        """
        count = day.toordinal() + self._moves
        generation = count // TENURE_DAYS
        low = int(generation.min())
        old, new = self.habits(low), self.habits(low + 1)
        moved = generation > low

        def pick(name: str) -> Floats:
            values: Floats = np.where(moved, getattr(new, name), getattr(old, name))
            return values

        return generation, Habits(
            pick("mean_amount"), pick("variation"), pick("rate"), pick("away")
        )

    def days_lived(self, day: date) -> Ints:
        """Days since the inhabitant of each seat moved in, below TENURE_DAYS."""
        lived: Ints = (day.toordinal() + self._moves) % TENURE_DAYS
        return lived

    def choose_merchants(self, seats: Ints, uniform: Floats) -> Ints:
        """A merchant near each seat, more often a popular one.

        `uniform` is in [0, 1), one per seat.
        """
        chosen = (self._near_cumulative[seats] < uniform[:, None]).sum(axis=1)
        merchants: Ints = self.near[seats, np.minimum(chosen, self.near.shape[1] - 1)]
        return merchants


def _around(random: np.random.Generator, centres: Floats, n: int) -> Floats:
    """Positions: nine in ten around one of the centres, the rest anywhere."""
    crowd = centres[random.integers(0, len(centres), n)] + random.normal(0.0, 0.07, (n, 2))
    positions: Floats = np.where(random.random((n, 1)) < 0.1, random.random((n, 2)), crowd)
    return positions
