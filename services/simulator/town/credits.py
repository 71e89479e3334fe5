"""Purchases that are paid later: who asks for it, and who does not pay in the end.

A share of the payments is paid later, in equal parts over 60 days. A customer with an appetite for
it asks more often, and fails more often. The chance of a default adds up what a lender would ask
about:

    logit(p) = base + appetite + trait + weight * ln(amount / the customer's usual amount)
               - weight * ln(usual amount / 30 euro) + new customer + night + parts

The age group decides nothing. But older customers spend more, so features tell something of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from services.simulator.town.chance import Floats, Keys, keys, normal_of, purposed, uniform
from services.simulator.town.ids import seats
from services.simulator.town.intensity import Times, times_of
from services.simulator.town.population import Population

CREDIT_PREFIX = "L"  # before the payment's id. A loan, because C is a customer.
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


@dataclass(frozen=True)
class CreditInputs:
    """Purchases on credit as arrays of one length.

    Attributes:
        customers: Keys of the customers, without a purpose.
        amount: Euro.
        usual_amount: Mean amount of the customer's payments, euro.
        account_days: Age of the customer's account.
        hour: Hour of the day, UTC.
        parts: Number of equal parts.
    """

    customers: Keys
    amount: Floats
    usual_amount: Floats
    account_days: Floats
    hour: Times
    parts: Floats


class Credits:
    """The credits of a town. A pure function of the day's payments and the seed."""

    def __init__(self, population: Population, seed: int) -> None:
        self._population, self._seed = population, seed

    def day(self, day: date, payments: pl.DataFrame) -> pl.DataFrame:
        """The day's purchases that are paid later, in order of time.

        The hidden columns are `defaulted`, `repaid_days` until that is known, and `default_chance`.
        """
        all_ids = keys(payments["transaction_id"], self._seed)
        all_customers = keys(payments["customer_id"], self._seed)
        appetite = normal_of(purposed(all_customers, "pays later"))
        share = SHARE * np.exp(APPETITE_SHARE * appetite)
        asks = uniform(purposed(all_ids, "credit")) < share
        chosen = asks & (payments["amount"].to_numpy() >= SMALLEST_EURO)
        rows = payments.filter(pl.Series(chosen, dtype=pl.Boolean))
        ids = all_ids[chosen]
        parts = self._parts(ids, rows["amount"].to_numpy())
        asked = self._asked(day, rows, all_customers[chosen], parts)
        chance = self.default_chance(asked, appetite[chosen])
        defaulted = uniform(purposed(ids, "defaults")) <= chance
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
            pl.Series("account_days", asked.account_days),
            pl.Series("age_group", self.age_groups(asked), dtype=pl.String),
            *(pl.Series(name, values) for name, values in hidden.items()),
        )

    def _asked(self, day: date, rows: pl.DataFrame, customers: Keys, parts: Floats) -> CreditInputs:
        seat = seats(rows["customer_id"])
        _, habits = self._population.inhabitants(day)
        return CreditInputs(
            customers,
            rows["amount"].to_numpy(),
            habits.mean_amount[seat],
            self._population.days_lived(day)[seat].astype(np.float64),
            times_of(rows["time"]) // _MICROSECONDS_PER_HOUR % 24,
            parts,
        )

    def default_chance(self, asked: CreditInputs, appetite: Floats) -> Floats:
        """The chance that each credit is not paid back. It knows the whole world."""
        logit = (
            DEFAULT_BASE
            + DEFAULT_APPETITE * appetite
            + DEFAULT_TRAIT * normal_of(purposed(asked.customers, "defaults"))
            + DEFAULT_AMOUNT * np.log(asked.amount / asked.usual_amount)
            - DEFAULT_WEALTH * np.log(asked.usual_amount / USUAL_EURO)
            + np.where(asked.account_days < NEW_DAYS, DEFAULT_IF_NEW, 0.0)
            + np.where(asked.hour < NIGHT_HOURS, DEFAULT_AT_NIGHT, 0.0)
            + DEFAULT_PART * (asked.parts - 2)
        )
        chance: Floats = 1.0 / (1.0 + np.exp(-logit))
        return chance

    def age_groups(self, asked: CreditInputs) -> list[str]:
        """Each customer's age group, for life. "" where it is unknown."""
        wealth = np.log(asked.usual_amount / USUAL_EURO) / USUAL_SIGMA
        chance = normal_of(purposed(asked.customers, "age"))
        age = AGE_WEALTH * wealth + np.sqrt(1 - AGE_WEALTH**2) * chance
        group = np.searchsorted(AGE_CUTS, age)
        silent = uniform(purposed(asked.customers, "no age")) < AGE_UNKNOWN
        return ["" if no else AGE_GROUPS[at] for at, no in zip(group, silent, strict=True)]

    def _parts(self, ids: Keys, amount: Floats) -> Floats:
        bounds = [euro for euro, _ in PARTS[:-1]]
        usual = np.array([count for _, count in PARTS])[np.searchsorted(bounds, amount, "right")]
        more = uniform(purposed(ids, "parts")) < OTHER_PLAN
        parts: Floats = (usual + more).astype(np.float64)
        return parts

    def _known_days(self, ids: Keys, defaulted: npt.NDArray[np.bool_]) -> Floats:
        """Days until it is known how each credit ends, at most PLAN_DAYS."""
        kind, luck = uniform(purposed(ids, "ends")), uniform(purposed(ids, "ends on"))
        share, missed = FIRST_MISSED
        bad = np.where(kind < share, missed, PLAN_DAYS)
        early, soonest = EARLY
        good = np.where(kind < early, soonest + (PLAN_DAYS - soonest) * luck, PLAN_DAYS)
        days: Floats = np.where(defaulted, bad, good).round(3)
        return days
