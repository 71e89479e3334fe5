"""Visits to the shop: who sees which banner when, and who clicks it.

Every customer visits now and then, and each visit shows one banner. Which one is chance, so that
each banner is seen by all kinds of customers. The chance of a click depends on the banner, the
customer's taste and the hour. Some banners appeal to those who spend much, others to those who
spend little:

    logit(p) = base + banner + taste + slope of the banner * ln(mean amount / 30 euro) + evening
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from dojo.core.events.columns import UTC_MICROSECONDS
from dojo.core.lake import start_of
from services.simulator.town.chance import Floats, keys, normal, uniform
from services.simulator.town.ids import customer_id, numbered
from services.simulator.town.intensity import microseconds
from services.simulator.town.population import Ints, Population
from services.simulator.town.rhythm import visits_of

VISITS_PER_DAY = 0.6  # of a customer
ROTATION = 12  # banners

CLICK_BASE = -3.3  # logit of 3.6 %
BANNER_SIGMA = 0.5
TASTE_SIGMA = 0.8  # over the customers. Some click often, some never.
WEALTH_SIGMA = 0.6  # of the slopes, over the banners
USUAL_EURO = 30.0
EVENING = (18, 23)  # hours, UTC
EVENING_LOGIT = 0.5

CLICK_MINUTES = (2.0, 1.0)  # median, and sigma of the logarithm
KNOWN_MINUTES = 30.0  # what is not clicked by then never will be

_MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Visitors:
    """The visits of a day, in order of time. All of one length.

    Attributes:
        customers: Who visits.
        mean_amount: What they spend on a payment, euro.
        seconds: After midnight.
        banner: Number of the banner that chance shows.
    """

    customers: pl.Series
    mean_amount: Floats
    seconds: Floats
    banner: Ints


class Visits:
    """The banners of a town's days. A pure function of the day and the seed."""

    def __init__(self, population: Population, seed: int) -> None:
        self._population, self._seed = population, seed
        random = np.random.default_rng([seed, 12])
        self._appeal = random.normal(0.0, BANNER_SIGMA, ROTATION)
        self._slope = random.normal(0.0, WEALTH_SIGMA, ROTATION)

    def visitors(self, day: date) -> Visitors:
        """The day's visits, in order of time, and the banner that chance shows each."""
        random = np.random.default_rng([self._seed, 13, day.toordinal()])
        generation, habits = self._population.inhabitants(day)
        seat, seconds = visits_of(random, self._population.customers, VISITS_PER_DAY, day)
        people = pl.DataFrame({"seat": seat, "generation": generation[seat]})
        return Visitors(
            people.select(customer_id("seat", "generation")).to_series(),
            habits.mean_amount[seat],
            seconds,
            random.integers(0, ROTATION, len(seat)),
        )

    def chances(self, visitors: Visitors, banner: Ints) -> Floats:
        """The chance of a click of each visit.

        Args:
            visitors: The visits.
            banner: What they are shown, numbers below ROTATION. Shape (visits,), or (banners, 1)
                for the chance of each of several banners in each visit.
        """
        hour = visitors.seconds // 3600
        evening = (hour >= EVENING[0]) & (hour < EVENING[1])
        logit = (
            CLICK_BASE
            + self._appeal[banner]
            + TASTE_SIGMA * normal(visitors.customers, self._seed, "clicks")
            + self._slope[banner] * np.log(visitors.mean_amount / USUAL_EURO)
            + np.where(evening, EVENING_LOGIT, 0.0)
        )
        chance: Floats = 1.0 / (1.0 + np.exp(-logit))
        return chance

    def day(self, day: date, payments: pl.DataFrame) -> pl.DataFrame:
        """The day's banners, in order of time. A visit needs no payment.

        The hidden columns are `clicked`, `known_days` until that is known, and `click_chance`.
        """
        visitors = self.visitors(day)
        rows = pl.DataFrame(
            {
                "number": np.arange(len(visitors.seconds)),
                "customer_id": visitors.customers,
                "banner": visitors.banner,
                "time": microseconds(start_of(day)) + (visitors.seconds * 1e6).astype(np.int64),
            }
        ).select(
            numbered(f"V{day:%Y%m%d}-", "number", 7).alias("impression_id"),
            "customer_id",
            numbered("B", "banner", 2).alias("banner_id"),
            pl.col("time").cast(UTC_MICROSECONDS),
        )
        ids = rows["impression_id"]
        chance = self.chances(visitors, visitors.banner)
        clicked = uniform(keys(ids, self._seed, "click")) <= chance
        median, sigma = CLICK_MINUTES
        waited = median * np.exp(sigma * normal(ids, self._seed, "hesitates"))
        minutes = np.where(clicked, np.minimum(waited, KNOWN_MINUTES), KNOWN_MINUTES)
        return rows.with_columns(
            clicked=pl.Series(clicked.astype(np.int8)),
            known_days=pl.Series(minutes / _MINUTES_PER_DAY),
            click_chance=pl.Series(chance),
        )
