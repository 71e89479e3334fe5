"""Orders behind the payments: what is ordered, when it arrives, and whether it comes back.

Some payments are orders by post, from a seller anywhere in town. The time to the door adds up what
a customer waits for:

    waiting for the next working day + the merchant's handling + the way

A parcel leaves on a working day before the cut-off hour. Handling depends on the merchant and the
season. The way depends on the distance and the carrier. Express shortens both. The chance of a
return depends on the product's kind, the product, the customer, the price and the delay:

    logit(p) = base + kind + product + customer + weight * ln(price / usual price) + late
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from services.simulator.town.chance import (
    Floats,
    Keys,
    keys,
    normal,
    normal_of,
    purposed,
    uniform,
)
from services.simulator.town.ids import numbered, seats
from services.simulator.town.intensity import times_of
from services.simulator.town.population import CATEGORIES, Ints, Population, category_names

ORDER_SHARE = 0.4  # of the payments
SELLERS = 400  # the merchants that sell by post, so that each sells several times a day
PRODUCTS = 600  # of all sellers together, for the same reason
POPULARITY = 1.5  # above 1, the first sellers and products sell more than the others
USUAL_EURO = 30.0  # at a merchant of price level 1
PRICE_SIGMA = (0.4, 0.25)  # of the logarithm of a price, over the products, and at each sale
EXPRESS_SHARE = 0.2
TOWN_KM = 300.0  # from one side to the other

# The time to the door.
CUTOFF_HOUR = 15
HANDLING = (1.0, 0.5)  # median in days, and sigma of the logarithm, over the merchants
SALES_WEEK = (11, 24, 30, 1.4)  # the week of sales: month, first and last day, factor on handling
WAY_DAYS = (0.6, 2.0)  # next door, and in addition for a way through the whole town
EXPRESS_FACTOR = 0.5
# Carrier -> share of the parcels, and factor on the way. The mean factor is 1.
CARRIERS: dict[str, tuple[float, float]] = {
    "post": (0.5, 1.2),
    "parcelline": (0.3, 0.9),
    "swift": (0.15, 0.6),
    "cyclists": (0.05, 0.8),
}
CHANCE_SIGMA = 0.25  # sigma of the logarithm of pure chance, of handling and way

# The chance of a return.
RETURN_BASE = -3.4  # logit of 3 %
RETURN_KINDS = {
    "grocery": -1.5,
    "restaurant": -2.0,
    "fuel": -2.0,
    "pharmacy": -1.0,
    "clothing": 2.6,
    "electronics": 1.6,
}
RETURN_PRODUCT_SIGMA = 0.7
RETURN_CUSTOMER_SIGMA = 0.9
RETURN_PRICE_WEIGHT = 0.4
LATE_AFTER_DAYS = 6.0
RETURN_IF_LATE = 0.8
ORDER_PREFIX = "O"  # before the payment's id

KEPT_DAYS = 2  # today's and yesterday's orders, which memberships ask for again

BACK_DAYS = (2.0, 12.0)  # from the door until a returned order is back, between these
RETURN_DAYS = 30.0  # after the order. What is not back by then was kept.
LOST_DAYS = 14.0  # a parcel that takes longer is written off

_MICROSECONDS_PER_HOUR = 3_600_000_000
_UP_TO = np.cumsum([share for share, _ in CARRIERS.values()])[:-1]
_WAY_FACTORS = np.array([factor for _, factor in CARRIERS.values()])
_SATURDAY, _SUNDAY = 5, 6


@dataclass(frozen=True)
class Ordered:
    """Orders as arrays of one length.

    Attributes:
        seat: Customer's seat.
        seller: Merchant's number.
        product: Product's number.
        price: Euro.
        express: 1 for a quick delivery, else 0.
        distance: Share of the way through the whole town.
        carrier: Number of the carrier in CARRIERS.
    """

    seat: Ints
    seller: Ints
    product: Ints
    price: Floats
    express: Floats
    distance: Floats
    carrier: Ints


class Orders:
    """The orders of a town. A pure function of the day's payments and the seed.

    Attributes:
        product_kind: Number of each product's kind in CATEGORIES.
        level: Price level of each product. 1 is usual.
    """

    def __init__(self, population: Population, seed: int) -> None:
        self._population, self._seed = population, seed
        self._sellers = min(SELLERS, population.merchants)
        random = np.random.default_rng([seed, 11])
        self._handling = random.lognormal(np.log(HANDLING[0]), HANDLING[1], self._sellers)
        self.product_kind: Ints = random.integers(0, len(CATEGORIES), PRODUCTS)
        self._of_kind = [
            np.flatnonzero(self.product_kind == kind) for kind in range(len(CATEGORIES))
        ]
        self.level = random.lognormal(0.0, PRICE_SIGMA[0], PRODUCTS)
        self._kept: dict[date, tuple[pl.DataFrame, pl.DataFrame]] = {}
        self._temptation = random.normal(0.0, RETURN_PRODUCT_SIGMA, PRODUCTS)

    def day(self, day: date, payments: pl.DataFrame) -> pl.DataFrame:
        """The day's orders, in order of time.

        The hidden columns are `delivery_days`, `returned`, and `settled_days` until that is known.
        `usual_days` and `return_chance` are what decides them before chance does.
        """
        kept = self._kept.get(day)
        if kept is None or kept[0] is not payments:
            kept = self._kept[day] = payments, self._day(day, payments)
            if len(self._kept) > KEPT_DAYS:
                del self._kept[next(iter(self._kept))]
        return kept[1]

    def _day(self, day: date, payments: pl.DataFrame) -> pl.DataFrame:
        all_keys = keys(payments["transaction_id"], self._seed)
        chosen = uniform(purposed(all_keys, "order")) < ORDER_SHARE
        paid, ids = payments.filter(pl.Series(chosen, dtype=pl.Boolean)), all_keys[chosen]
        ordered = self._ordered(paid, ids)
        usual = self.usual_days(day, paid["time"], ordered)
        luck = normal_of(purposed(ids, "on the way"))
        days = np.minimum((usual * np.exp(CHANCE_SIGMA * luck)).round(3), LOST_DAYS)
        chance = self.return_chance(paid["customer_id"], ordered, days)
        returned = uniform(purposed(ids, "returned")) <= chance
        low, high = BACK_DAYS
        back = days + low + (high - low) * uniform(purposed(ids, "back"))
        settled = np.where(returned, np.minimum(back, RETURN_DAYS), RETURN_DAYS)
        hidden = {
            "delivery_days": days,
            "returned": returned.astype(np.int8),
            "settled_days": settled.round(3),
            "usual_days": usual,
            "return_chance": chance,
        }
        return paid.with_columns(
            seller=pl.Series(ordered.seller, dtype=pl.Int64),
            product=pl.Series(ordered.product, dtype=pl.Int64),
        ).select(
            (ORDER_PREFIX + pl.col("transaction_id")).alias("order_id"),
            "customer_id",
            numbered("M", "seller", 5).alias("merchant_id"),
            numbered("P", "product", 4).alias("product_id"),
            "time",
            pl.Series("price", ordered.price),
            pl.Series("express", ordered.express),
            pl.Series("distance_km", (ordered.distance * TOWN_KM).round(1)),
            pl.Series("category", category_names(self._population.category[ordered.seller])),
            pl.Series("carrier", list(CARRIERS)).gather(ordered.carrier),
            *(pl.Series(name, values) for name, values in hidden.items()),
        )

    def _ordered(self, paid: pl.DataFrame, ids: Keys) -> Ordered:
        seat = seats(paid["customer_id"])
        seller = _popular(self._sellers, uniform(purposed(ids, "seller")))
        choice = uniform(purposed(ids, "product"))
        product = np.zeros(len(seat), dtype=np.int64)
        for kind, products in enumerate(self._of_kind):
            here = self._population.category[seller] == kind
            product[here] = products[_popular(len(products), choice[here])]
        express = uniform(purposed(ids, "express")) < EXPRESS_SHARE
        way = self._population.homes[seat] - self._population.places[seller]
        noise = PRICE_SIGMA[1] * normal_of(purposed(ids, "price"))
        price = self._usual_price(seller, product) * np.exp(noise)
        return Ordered(
            seat,
            seller,
            product,
            np.maximum(price.round(2), 0.01),
            express.astype(np.float64),
            np.hypot(way[:, 0], way[:, 1]),
            np.searchsorted(_UP_TO, uniform(purposed(ids, "carrier"))),
        )

    def _usual_price(self, seller: Ints, product: Ints) -> Floats:
        usual: Floats = USUAL_EURO * self._population.price[seller] * self.level[product]
        return usual

    def return_chance(
        self, customers: pl.Series, ordered: Ordered, delivery_days: Floats
    ) -> Floats:
        """The chance that each order comes back, for those who know everything."""
        habit = RETURN_CUSTOMER_SIGMA * normal(customers, self._seed, "sends back")
        kind = np.array([RETURN_KINDS[name] for name in CATEGORIES])
        price = np.log(ordered.price / self._usual_price(ordered.seller, ordered.product))
        logit = (
            RETURN_BASE
            + kind[self._population.category[ordered.seller]]
            + self._temptation[ordered.product]
            + habit
            + RETURN_PRICE_WEIGHT * price
            + np.where(delivery_days > LATE_AFTER_DAYS, RETURN_IF_LATE, 0.0)
        )
        chance: Floats = 1.0 / (1.0 + np.exp(-logit))
        return chance

    def usual_days(self, day: date, times: pl.Series, ordered: Ordered) -> Floats:
        """The time to the door without chance, for those who know everything."""
        hour = times_of(times) // _MICROSECONDS_PER_HOUR % 24
        waits = np.where(hour >= CUTOFF_HOUR, 1.0, 0.0)
        if day.weekday() == _SUNDAY:
            waits = np.ones(len(hour))
        elif day.weekday() == _SATURDAY:
            waits *= 2.0
        month, first, last, factor = SALES_WEEK
        rush = factor if day.month == month and first <= day.day <= last else 1.0
        way = (WAY_DAYS[0] + WAY_DAYS[1] * ordered.distance) * _WAY_FACTORS[ordered.carrier]
        work = self._handling[ordered.seller] * rush + way
        usual: Floats = waits + work * np.where(ordered.express > 0, EXPRESS_FACTOR, 1.0)
        return usual


def order_of(payment: str) -> str:
    """Return the id of the order that belongs to a payment, if it has one."""
    return ORDER_PREFIX + payment


def _popular(count: int, chance: Floats) -> Ints:
    """Numbers below `count`, the first ones more often. `chance` is in (0, 1]."""
    numbers: Ints = np.minimum((count * chance**POPULARITY).astype(np.int64), count - 1)
    return numbers
