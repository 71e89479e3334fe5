"""Purchases that are paid later: who asks for it, and who does not pay in the end.

A share of the payments is paid later, in equal parts over 60 days. Those with an appetite for it
ask more often, and fail more often. The chance of a default adds up what a lender would ask about:

    logit(p) = base + appetite + trait + weight * ln(amount / the customer's usual amount)
               - weight * ln(usual amount / 30 euro) + new customer + night + parts

The age group decides nothing. But older customers spend more, so features tell something of it.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from services.simulator.town.chance import Floats, keys, normal, uniform
from services.simulator.town.ids import seats
from services.simulator.town.intensity import times_of
from services.simulator.town.population import Population

CREDIT_PREFIX = "K"  # before the payment's id
SMALLEST_EURO = 20.0  # what costs less is paid at once
SHARE = 0.15  # of the other payments, of a customer with a usual appetite
APPETITE_SHARE = 0.5  # factor e^0.5 on the share, for each sigma of appetite
PARTS = ((50.0, 2), (150.0, 3), (np.inf, 4))  # below this many euro, in so many parts
OTHER_PLAN = 0.2  # share of the customers' choices with one part more

DEFAULT_BASE = -3.75  # logit of 2.3 %
DEFAULT_APPETITE = 0.6
DEFAULT_TRAIT = 0.7  # sigma over the customers, and nothing shows it before a default
DEFAULT_AMOUNT = 0.6
DEFAULT_WEALTH = 0.7
NEW_DAYS, DEFAULT_IF_NEW = 90, 0.9
NIGHT_HOURS, DEFAULT_AT_NIGHT = 6, 0.6  # from midnight, UTC
DEFAULT_PART = 0.25  # for each part beyond two
USUAL_EURO, USUAL_SIGMA = 30.0, 0.6  # of the customers' mean amounts (population.py)

PLAN_DAYS = 60.0  # the last part is due. Then it is known who has not paid.
FIRST_MISSED = (0.3, 37.0)  # share of the defaults that show at the first part, reminders included
EARLY = (0.35, 5.0)  # share of the others that repay early, at least so many days later

# A quarter, 30 %, a quarter and a fifth of the customers. Some do not say.
AGE_GROUPS = ("18-29", "30-44", "45-59", "60+")
AGE_CUTS = (-0.674, 0.126, 0.842)  # quantiles of the standard normal distribution
AGE_UNKNOWN = 0.03
AGE_WEALTH = 0.5  # correlation of age with the logarithm of the mean amount

_MICROSECONDS_PER_HOUR = 3_600_000_000


class Credits:
    """The credits of a town. A pure function of the day's payments and the seed."""

    def __init__(self, population: Population, seed: int) -> None:
        self._population, self._seed = population, seed

    def day(self, day: date, payments: pl.DataFrame) -> pl.DataFrame:
        """The day's purchases that are paid later, in order of time.

        The hidden columns are `defaulted`, `repaid_days` until that is known, and `default_chance`.
        """
        appetite = normal(payments["customer_id"], self._seed, "pays later")
        asks = uniform(keys(payments["transaction_id"], self._seed, "credit"))
        share = SHARE * np.exp(APPETITE_SHARE * appetite)
        chosen = (asks < share) & (payments["amount"].to_numpy() >= SMALLEST_EURO)
        rows = payments.filter(pl.Series(chosen, dtype=pl.Boolean))
        ids, amount = rows["transaction_id"], rows["amount"].to_numpy()
        parts = self._parts(ids, amount)
        chance = self.default_chance(day, rows, appetite[chosen], parts)
        defaulted = uniform(keys(ids, self._seed, "defaults")) <= chance
        hidden: dict[str, npt.NDArray[Any]] = {
            "defaulted": defaulted.astype(np.int8),
            "repaid_days": self._known_days(ids, defaulted),
            "default_chance": chance,
        }
        return rows.select(
            (CREDIT_PREFIX + pl.col("transaction_id")).alias("credit_id"),
            "customer_id",
            "merchant_id",
            "time",
            "amount",
            pl.Series("parts", parts),
            pl.Series("account_days", self._account_days(day, rows)),
            pl.Series("age_group", self.age_groups(day, rows["customer_id"]), dtype=pl.String),
            *(pl.Series(name, values) for name, values in hidden.items()),
        )

    def default_chance(
        self, day: date, rows: pl.DataFrame, appetite: Floats, parts: Floats
    ) -> Floats:
        """The chance that each credit is not paid back, for those who know everything."""
        usual = self._usual_euro(day, rows["customer_id"])
        night = times_of(rows["time"]) // _MICROSECONDS_PER_HOUR % 24 < NIGHT_HOURS
        logit = (
            DEFAULT_BASE
            + DEFAULT_APPETITE * appetite
            + DEFAULT_TRAIT * normal(rows["customer_id"], self._seed, "defaults")
            + DEFAULT_AMOUNT * np.log(rows["amount"].to_numpy() / usual)
            - DEFAULT_WEALTH * np.log(usual / USUAL_EURO)
            + np.where(self._account_days(day, rows) < NEW_DAYS, DEFAULT_IF_NEW, 0.0)
            + np.where(night, DEFAULT_AT_NIGHT, 0.0)
            + DEFAULT_PART * (parts - 2)
        )
        chance: Floats = 1.0 / (1.0 + np.exp(-logit))
        return chance

    def age_groups(self, day: date, customers: pl.Series) -> list[str]:
        """Each customer's age group, for life. "" where it is unknown."""
        wealth = np.log(self._usual_euro(day, customers) / USUAL_EURO) / USUAL_SIGMA
        chance = normal(customers, self._seed, "age")
        age = AGE_WEALTH * wealth + np.sqrt(1 - AGE_WEALTH**2) * chance
        group = np.searchsorted(AGE_CUTS, age)
        silent = uniform(keys(customers, self._seed, "no age")) < AGE_UNKNOWN
        return ["" if no else AGE_GROUPS[at] for at, no in zip(group, silent, strict=True)]

    def _usual_euro(self, day: date, customers: pl.Series) -> Floats:
        _, habits = self._population.inhabitants(day)
        usual: Floats = habits.mean_amount[seats(customers)]
        return usual

    def _account_days(self, day: date, rows: pl.DataFrame) -> Floats:
        known = self._population.days_lived(day)[seats(rows["customer_id"])]
        return known.astype(np.float64)

    def _parts(self, ids: pl.Series, amount: Floats) -> Floats:
        bounds = [euro for euro, _ in PARTS[:-1]]
        usual = np.array([count for _, count in PARTS])[np.searchsorted(bounds, amount, "right")]
        more = uniform(keys(ids, self._seed, "parts")) < OTHER_PLAN
        parts: Floats = (usual + more).astype(np.float64)
        return parts

    def _known_days(self, ids: pl.Series, defaulted: npt.NDArray[np.bool_]) -> Floats:
        """Days until it is known how each credit ends, at most PLAN_DAYS."""
        kind, luck = keys(ids, self._seed, "ends"), keys(ids, self._seed, "ends on")
        share, missed = FIRST_MISSED
        bad = np.where(uniform(kind) < share, missed, PLAN_DAYS)
        early, soonest = EARLY
        good = np.where(
            uniform(kind) < early, soonest + (PLAN_DAYS - soonest) * uniform(luck), PLAN_DAYS
        )
        days: Floats = np.where(defaulted, bad, good).round(3)
        return days
