"""Memberships: who gets a statement, who cancels after it, and what the members spend.

Customers of the shop join its programme when they move to town. Each gets a statement every 30
days, on a day of their own. Until the next one the member renews or cancels. The chance depends on
the 30 days before the statement, and on the member:

    logit(p) = base + orders * ln(number / usual) + spend * ln(euro / usual) + late parcels
               + returns + tenure * ln(days / usual) + the member's own mind

A member who cancels gets no next statement, and is away until a month in which they would have
renewed. So the number of members stays about the same.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.events.columns import UTC_MICROSECONDS
from dojo.core.lake import start_of
from services.simulator.town.chance import Floats, keys, normal_of, purposed, uniform
from services.simulator.town.ids import customer_id, numbered
from services.simulator.town.intensity import microseconds
from services.simulator.town.payments import BIG_PURCHASE_FACTOR, BIG_PURCHASE_SHARE
from services.simulator.town.population import TENURE_DAYS, Habits, Ints, Population
from services.simulator.town.rhythm import WEEKDAY_FACTOR
from services.simulator.town.shopping import MONTH_DAYS, Shopping

SENT = (8.0, 20.0)  # hours, UTC. By then the night's features are known.

CANCEL_BASE = -2.8  # logit of 6 %, for the usual member without trouble
ORDERS_WEIGHT, USUAL_ORDERS = -1.1, 22.0
SPEND_WEIGHT, USUAL_EURO = -0.4, 1800.0
LATE_LOGIT, MOST_LATE = 0.6, 4  # of each late parcel. Beyond these it gets no worse.
RETURN_LOGIT, MOST_RETURNS = 0.25, 6
TENURE_WEIGHT, USUAL_DAYS = -0.4, 400.0
MIND_SIGMA = 0.6  # over the members

DECIDES = (1.0, 29.0)  # days until a cancellation, between these. Without one, it is a renewal.

# Days whose chances are kept. They are asked for again a month later.
KEPT_CHANCES = 2 * MONTH_DAYS

_DAY_SECONDS = 86_400


class Memberships:
    """The statements of a town's days. A pure function of the day and the seed."""

    def __init__(self, population: Population, seed: int, shopping: Shopping) -> None:
        self._population, self._seed, self._shopping = population, seed, shopping
        random = np.random.default_rng([seed, 14])
        self.cancel_chance = lru_cache(maxsize=KEPT_CHANCES)(self._cancel_chance)
        self._turn = random.integers(0, MONTH_DAYS, population.customers)

    def day(self, day: date, payments: pl.DataFrame) -> pl.DataFrame:
        """The day's statements, in order of time. They need no payment on the day.

        The hidden columns are `cancelled`, `decided_days` until that is known, and
        `cancel_chance`. Then come `spent_30d`, `counted_days` until that is known, and
        `usual_spend`, the best guess of it.
        """
        generation, habits = self._population.inhabitants(day)
        seat = np.flatnonzero((day.toordinal() + self._turn) % MONTH_DAYS == 0)
        seat = seat[self._is_member(day, seat)]
        ids = keys(_ids(day, seat), self._seed)
        low, high = SENT
        seconds = ((low + (high - low) * uniform(purposed(ids, "sent"))) * 3600).round(6)
        order = np.argsort(seconds, kind="stable")
        seat, ids, seconds = seat[order], ids[order], seconds[order]
        chance = self.cancel_chance(day)[seat]
        cancelled = uniform(purposed(ids, "cancels")) <= chance
        first, last = DECIDES
        decided = first + (last - first) * uniform(purposed(ids, "decides"))
        lived = self._population.days_lived(day)
        rows = pl.DataFrame(
            {
                "membership_id": _ids(day, seat),
                "seat": seat,
                "generation": generation[seat],
                "time": microseconds(start_of(day)) + (seconds * 1e6).astype(np.int64),
            }
        )
        hidden = {
            "cancelled": cancelled.astype(np.int8),
            "decided_days": np.where(cancelled, decided, MONTH_DAYS),
            "cancel_chance": chance,
            "spent_30d": self._shopping.after(day)[seat],
            "counted_days": MONTH_DAYS + 1 - seconds / _DAY_SECONDS,
            "usual_spend": self.usual_spend(day, habits, lived)[seat],
        }
        return rows.select(
            "membership_id",
            customer_id("seat", "generation").alias("customer_id"),
            pl.col("time").cast(UTC_MICROSECONDS),
            pl.Series("member_days", lived[seat].astype(np.float64)),
            *(pl.Series(name, values) for name, values in hidden.items()),
        )

    def _cancel_chance(self, day: date) -> Floats:
        """The chance of each seat's inhabitant to cancel after a statement of `day`, by seat."""
        generation, _ = self._population.inhabitants(day)
        month, lived = self._shopping.before(day), self._population.days_lived(day)
        who = pl.DataFrame({"seat": np.arange(len(lived)), "generation": generation})
        mind = keys(who.select(customer_id("seat", "generation")).to_series(), self._seed)
        logit = (
            CANCEL_BASE
            + ORDERS_WEIGHT * np.log((month.orders + 1) / USUAL_ORDERS)
            + SPEND_WEIGHT * np.log((month.spent + 10) / USUAL_EURO)
            + LATE_LOGIT * np.minimum(month.late, MOST_LATE)
            + RETURN_LOGIT * np.minimum(month.returned, MOST_RETURNS)
            + TENURE_WEIGHT * np.log((lived + 10) / USUAL_DAYS)
            + MIND_SIGMA * normal_of(purposed(mind, "loyal"))
        )
        chance: Floats = 1.0 / (1.0 + np.exp(-logit))
        return chance

    def _is_member(self, day: date, seat: Ints) -> npt.NDArray[np.bool_]:
        """Whether the inhabitants of seats are members on the day of their statement.

        A new inhabitant is. The others are, unless a statement a month ago made them cancel.
        """
        before = day - timedelta(days=MONTH_DAYS)
        ids = keys(_ids(before, seat), self._seed)
        renewed = uniform(purposed(ids, "cancels")) > self.cancel_chance(before)[seat]
        return renewed | (self._population.days_lived(day)[seat] < MONTH_DAYS)

    def usual_spend(self, day: date, habits: Habits, lived: Ints) -> Floats:
        """What half of such inhabitants exceed in the month after `day`, euro, by seat.

        It knows their habits, and not which payments chance brings. The sum's median follows from
        its mean and variance as that of a lognormal number does.
        """
        ahead = [day + timedelta(days=n) for n in range(1, MONTH_DAYS + 1)]
        present = (lived[:, None] + np.arange(1, MONTH_DAYS + 1)) < TENURE_DAYS
        factor = (present * WEEKDAY_FACTOR[[one.weekday() for one in ahead]]).sum(axis=1)
        count = np.maximum(habits.rate * factor, 1e-9)
        mean, square = self._population.nearby_prices
        away = habits.away
        big = sum(BIG_PURCHASE_FACTOR) / 2
        often = np.exp(habits.variation**2)
        price = ((1 - away) * mean + away * mean.mean()) * habits.mean_amount * np.sqrt(often)
        squared = ((1 - away) * square + away * square.mean()) * habits.mean_amount**2 * often**2
        price = price * (1 + BIG_PURCHASE_SHARE * (big - 1))
        squared = squared * (1 + BIG_PURCHASE_SHARE * (big**2 - 1))
        median: Floats = count * price / np.sqrt(1 + squared / (count * price**2))
        return np.where(factor > 0, median, 0.0)


def _ids(day: date, seat: Ints) -> pl.Series:
    return pl.DataFrame({"seat": seat}).select(numbered(f"K{day:%Y%m%d}-", "seat", 5)).to_series()
