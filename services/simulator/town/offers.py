"""Offers: each product gets a price for a day, and sells some units.

A product's day begins at a minute of its own, so that offers come evenly. The units are a Poisson
number. Its mean depends on the product, the weekday and the price:

    mean = usual units * weekday * (price / regular price) ^ -elasticity of the kind

The rows are all prices that the shop considers. The hidden column `happens` says which one chance
takes.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from dojo.core.events.columns import UTC_MICROSECONDS
from dojo.core.lake import start_of
from dojo.shop.prices import BY_CHANCE, COST, LEVELS
from services.simulator.town.chance import Floats, keys, of_pairs, purposed, uniform
from services.simulator.town.ids import numbered
from services.simulator.town.intensity import microseconds
from services.simulator.town.orders import PRODUCTS, USUAL_EURO, Orders
from services.simulator.town.population import CATEGORIES, Ints, category_names
from services.simulator.town.rhythm import WEEKDAY_FACTOR

USUAL_UNITS = (6.0, 0.7)  # median, and sigma of the logarithm, over the products
# Lost share of the demand for each percent of the price. Published means lie around 2.
ELASTICITY = {
    "grocery": 1.2,
    "restaurant": 1.6,
    "fuel": 1.4,
    "pharmacy": 1.2,
    "clothing": 3.0,
    "electronics": 4.0,
}
MOST_UNITS = 400  # of a product and day
PRODUCTS_PER_CUSTOMER = 0.12  # a smaller town has fewer of the PRODUCTS on offer

_MINUTES_PER_DAY = 24 * 60
_MICROSECONDS_PER_MINUTE = 60_000_000


class Offers:
    """The offers of a shop. A pure function of the day and the seed."""

    def __init__(self, customers: int, orders: Orders, seed: int) -> None:
        self._seed = seed
        self._products = min(PRODUCTS, max(1, round(PRODUCTS_PER_CUSTOMER * customers)))
        self._regular = np.maximum((USUAL_EURO * orders.level).round(2), 0.1)
        self._kind = orders.product_kind
        random = np.random.default_rng([seed, 20])
        self._usual = random.lognormal(np.log(USUAL_UNITS[0]), USUAL_UNITS[1], PRODUCTS)
        # In order of time, so that a day's rows are.
        minutes = random.permutation(self._products) * (_MINUTES_PER_DAY / self._products)
        self._order = np.argsort(minutes)
        self._minute = minutes[self._order]

    def day(self, day: date, payments: pl.DataFrame) -> pl.DataFrame:
        """All considered offers of the day, in order of time. No offer needs a payment.

        `list_id` names the offers of which one happens. The hidden columns are `happens`,
        `by_chance` where a model does not decide, and `cost` of a unit. `units` would be sold,
        which is known after `sold_days`. `usual_units` are those without chance.
        """
        product = np.repeat(self._order, len(LEVELS))
        level = np.tile(np.arange(len(LEVELS)), self._products)
        time = microseconds(start_of(day)) + (self._minute * _MICROSECONDS_PER_MINUTE).astype(
            np.int64
        )
        rows = pl.DataFrame(
            {"product": product, "level": level, "time": np.repeat(time, len(LEVELS))}
        ).select(
            numbered(f"D{day:%Y%m%d}-", "product", 4).alias("list_id"),
            numbered("P", "product", 4).alias("product_id"),
            pl.col("time").cast(UTC_MICROSECONDS),
            "level",
        )
        offer = keys(rows["list_id"], self._seed)
        price = np.maximum((self._regular[product] * np.array(LEVELS)[level]).round(2), 0.01)
        usual = self.usual_units(day, product, price)
        happens = (uniform(purposed(offer, "level")) * len(LEVELS)).astype(np.int64) == level
        return rows.select(
            pl.concat_str("list_id", "level", separator="-").alias("offer_id"),
            "product_id",
            "time",
            pl.Series("price", price),
            pl.Series("regular_price", self._regular[product]),
            pl.Series("kind", self._kind[product].astype(np.float64)),
            pl.Series("category", category_names(self._kind[product])),
            "list_id",
            pl.Series("happens", happens),
            pl.Series("by_chance", uniform(purposed(offer, "decided")) < BY_CHANCE),
            pl.Series("cost", (COST * self._regular[product]).round(2)),
            pl.Series("units", _poisson(usual, uniform(of_pairs(offer, level)))),
            pl.lit(1.0).alias("sold_days"),
            pl.Series("usual_units", usual),
        )

    def usual_units(self, day: date, product: Ints, price: Floats) -> Floats:
        """The mean number of sold units, for those who know everything.

        Args:
            product: Numbers of products.
            price: Euro.
        """
        elasticity = np.array([ELASTICITY[name] for name in CATEGORIES])[self._kind[product]]
        found: Floats = (
            self._usual[product]
            * WEEKDAY_FACTOR[day.weekday()]
            * (price / self._regular[product]) ** -elasticity
        )
        return found


def _poisson(mean: Floats, chance: Floats) -> Ints:
    """Poisson numbers of uniform numbers in (0, 1], at most MOST_UNITS (Devroye 1986, III.2)."""
    found = np.zeros(len(mean), dtype=np.int64)
    probability = np.exp(-mean)
    below = probability.copy()
    for units in range(1, MOST_UNITS + 1):
        more = chance > below
        if not more.any():
            break
        found[more] = units
        probability = probability * mean / units
        below += probability
    return found
