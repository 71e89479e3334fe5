"""Lists of products: what a customer sees in a search or as suggestions, clicks and buys.

The products are those of the orders. Before any model, the shop shows popular products first. A
customer who looks at a product clicks it with a chance. It depends on the product's appeal, on the
customer's wish, and on how the price fits the customer's means:

    logit(p) = base + appeal + weight * (wish - 0.5) - misfit * (ln(price) - ln(usual price))^2

`wish` is the match with the words of a search, or a named interest. Who looks at what depends on
the position (dojo/shop/lists.py). So a click depends on the position too. The hidden column
`seen_until` is the last position with a click.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from dojo.core.events.columns import UTC_MICROSECONDS
from dojo.core.lake import start_of
from dojo.shop.lists import last_seen
from dojo.shop.truths import BOUGHT, CLICKED
from services.simulator.town.chance import (
    Floats,
    keys,
    normal_of,
    of_pairs,
    purposed,
    uniform,
)
from services.simulator.town.ids import customer_id, numbered
from services.simulator.town.intensity import microseconds
from services.simulator.town.orders import PRODUCTS, USUAL_EURO, Orders
from services.simulator.town.population import CATEGORIES, Ints, Population
from services.simulator.town.rhythm import visits_of

POPULARITY_SIGMA = 1.0  # of the logarithm, over the products
APPEAL_SIGMA = 0.7  # over the products. It does not depend on their popularity.
PRICE_SIGMA = 0.1  # of the logarithm of a price, over the days
MISFIT = 0.4
MEANS_WEIGHT = 0.7  # how much of a customer's means goes into the price that fits
BUY_BASE = -1.0  # logit of 27 %, of those who click
CLICK_MINUTES = (3.0, 1.0)  # median, and sigma of the logarithm
KNOWN_MINUTES = 30.0  # what is not clicked by then never will be

_MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True)
class Kind:
    """A kind of list.

    Attributes:
        prefix: Beginning of the ids.
        key: Name of the column of ids.
        wish: Name of the column of what is known about the wish.
        number: Number of its random generators.
        a_day: Lists per customer and day.
        length: Products in a list.
        base: Logit of a click where all else is usual.
        weight: Of the wish.
        wishes: Makes the wishes of as many uniform numbers.
    """

    prefix: str
    key: str
    wish: str
    number: int
    a_day: float
    length: int
    base: float
    weight: float
    wishes: Callable[[Floats], Floats]


# A search is about one kind of product. Most results match somehow, few do well.
SEARCH = Kind(
    "S", "result_id", "match", 14, 0.04, 20, -2.0, 3.0, lambda chance: (chance**0.5).round(3)
)
# A customer has named two kinds of six.
SUGGESTION = Kind(
    "G", "suggestion_id", "interest", 16, 0.04, 20, -2.4, 1.5,
    lambda chance: (chance < 1 / 3).astype(np.float64),
)  # fmt: skip


class Lists:
    """The lists of one kind in a town. A pure function of the day and the seed."""

    def __init__(self, population: Population, orders: Orders, seed: int, kind: Kind) -> None:
        self._population, self._seed, self._kind = population, seed, kind
        self._price = USUAL_EURO * orders.level
        self._product_kind = orders.product_kind
        random = np.random.default_rng([seed, 18])  # both kinds of list have the same products
        self._popular = random.normal(0.0, POPULARITY_SIGMA, PRODUCTS)
        self._appeal = random.normal(0.0, APPEAL_SIGMA, PRODUCTS)
        self._names = (
            pl.select(number=pl.arange(PRODUCTS))
            .select(numbered("P", "number", 4).alias("product_id"))
            .to_series()
        )

    def day(self, day: date, payments: pl.DataFrame) -> pl.DataFrame:
        """The products that customers see on a day, in order of time. No list needs a payment.

        `list_id` names the list. The hidden columns are `seen_until`, `grade` of a product that is
        clicked, and `known_days` until that is known. `relevance` is the mean grade of a look.
        """
        kind = self._kind
        random = np.random.default_rng([self._seed, kind.number, day.toordinal()])
        generation, habits = self._population.inhabitants(day)
        seat, seconds = visits_of(random, self._population.customers, kind.a_day, day)
        each = np.repeat(np.arange(len(seat)), kind.length)
        product = self._products(random, len(seat)).ravel()
        # Texts are made once for each list and product.
        lists = pl.DataFrame(
            {
                "number": np.arange(len(seat)),
                "seat": seat,
                "generation": generation[seat],
                "time": microseconds(start_of(day)) + (seconds * 1e6).astype(np.int64),
            }
        ).select(
            numbered(f"{kind.prefix}{day:%Y%m%d}-", "number", 6).alias("list_id"),
            customer_id("seat", "generation").alias("customer_id"),
            pl.col("time").cast(UTC_MICROSECONDS),
        )
        rows = lists[each].with_columns(product_id=self._names.gather(product))
        ids = of_pairs(keys(lists["list_id"], self._seed)[each], product)
        price = self._prices(day)[product]
        wish = kind.wishes(uniform(purposed(ids, "wish")))
        logit = self.logit(product, price, wish, habits.mean_amount[seat][each])
        click, buy = _probability(kind.base + logit), _probability(BUY_BASE + logit / 2)
        median, sigma = CLICK_MINUTES
        waited = median * np.exp(sigma * normal_of(purposed(ids, "hesitates")))
        last = last_seen(click, uniform(purposed(ids, "click")))
        minutes = np.where(last > 0, np.minimum(waited, KNOWN_MINUTES), KNOWN_MINUTES)
        bought = uniform(purposed(ids, "buy")) <= buy
        return rows.select(
            pl.concat_str("list_id", "product_id", separator="-").alias(kind.key),
            "customer_id",
            "product_id",
            "time",
            pl.Series("price", price),
            pl.Series(kind.wish, wish),
            pl.Series("position", np.tile(np.arange(1, kind.length + 1, dtype=np.int8), len(seat))),
            "list_id",
            pl.Series("seen_until", last.astype(np.int8)),
            pl.Series("grade", np.where(bought, BOUGHT, CLICKED).astype(np.int8)),
            pl.Series("known_days", minutes / _MINUTES_PER_DAY),
            pl.Series("relevance", click * (CLICKED + (BOUGHT - CLICKED) * buy)),
        )

    def logit(self, product: Ints, price: Floats, wish: Floats, means: Floats) -> Floats:
        """What decides a click beside the kind's base.

        Args:
            product: Numbers of products.
            price: Euro.
            wish: What is known about the wish, 0 to 1.
            means: The customers' mean payment, euro.
        """
        fitting = np.log(USUAL_EURO) + MEANS_WEIGHT * np.log(means / USUAL_EURO)
        found: Floats = (
            self._appeal[product]
            + self._kind.weight * (wish - 0.5)
            - MISFIT * (np.log(price) - fitting) ** 2
        )
        return found

    def _prices(self, day: date) -> Floats:
        random = np.random.default_rng([self._seed, 19, day.toordinal()])
        noise = np.exp(random.normal(0.0, PRICE_SIGMA, PRODUCTS))
        prices: Floats = np.maximum((self._price * noise).round(2), 0.01)
        return prices

    def _products(self, random: np.random.Generator, lists: int) -> Ints:
        """The products of each list, the popular ones first. Shape (lists, length).

        Gumbel noise on the logarithm draws without replacement, in proportion to the popularity.
        """
        drawn = self._popular + random.gumbel(size=(lists, PRODUCTS))
        if self._kind is SEARCH:
            about = random.integers(0, len(CATEGORIES), lists)
            drawn[self._product_kind[None, :] != about[:, None]] = -np.inf
        best = np.argpartition(-drawn, self._kind.length, axis=1)[:, : self._kind.length]
        order = np.argsort(-np.take_along_axis(drawn, best, axis=1), axis=1)
        found: Ints = np.take_along_axis(best, order, axis=1)
        return found


def _probability(logit: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-logit))
    return found
