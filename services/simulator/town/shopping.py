"""What customers did on a day and what they went through, as arrays by seat.

Memberships look back a month and ahead a month. So each day is summed up once and kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.lake import start_of
from services.simulator.town.chance import Floats
from services.simulator.town.ids import seats
from services.simulator.town.intensity import microseconds, times_of
from services.simulator.town.orders import LATE_AFTER_DAYS, Orders
from services.simulator.town.population import TENURE_DAYS, Ints, Population

MONTH_DAYS = 30  # of a membership. Statements, renewals and windows count in it.

# Days that are kept as sums. A statement needs two months back and one ahead, and the monitor's
# outcomes need the statements of a month. In a town of 5,000 a day takes 0.1 MB.
KEPT_DAYS = 160

_MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class DayOfOrders:
    """The orders of one day.

    Attributes:
        orders: Number of orders by seat.
        late: Seat of each late parcel.
        late_from: First day, as ordinal, on which the customer knows that the parcel is late.
        returned: Seat of each order that comes back.
        returned_from: First day, as ordinal, on which it is back.
    """

    orders: Ints
    late: Ints
    late_from: Ints
    returned: Ints
    returned_from: Ints


@dataclass(frozen=True)
class PastMonth:
    """The month before a day of each seat's inhabitant, as arrays by seat.

    Attributes:
        orders: Number of orders.
        late: Those of them that came late, as known at the day's beginning.
        returned: Those of them that were back at the day's beginning.
        spent: Euro.
    """

    orders: Floats
    late: Floats
    returned: Floats
    spent: Floats


class Shopping:
    """The sums of a town's days. Pure.

    Args:
        payments: Returns a day's payments.
    """

    def __init__(
        self, population: Population, orders: Orders, payments: Callable[[date], pl.DataFrame]
    ) -> None:
        self._population, self._orders, self._payments = population, orders, payments
        self.spent = lru_cache(maxsize=KEPT_DAYS)(self._spent)
        self.ordering = lru_cache(maxsize=KEPT_DAYS)(self._ordering)

    def _spent(self, day: date) -> Floats:
        """Honest payments of the day by seat, euro."""
        honest = self._payments(day).filter(label=0)
        return self._by_seat(honest["customer_id"], honest["amount"].to_numpy())

    def _ordering(self, day: date) -> DayOfOrders:
        rows = self._orders.day(day, self._payments(day))
        seat = seats(rows["customer_id"])
        after_midnight = times_of(rows["time"]) - microseconds(start_of(day))
        late = rows["delivery_days"].to_numpy() > LATE_AFTER_DAYS
        returned = rows["returned"].to_numpy() == 1

        def known_from(which: npt.NDArray[np.bool_], days: str) -> Ints:
            waited = (rows[days].to_numpy()[which] * _MICROSECONDS_PER_DAY).astype(np.int64)
            later: Ints = (after_midnight[which] + waited) // _MICROSECONDS_PER_DAY + 1
            return later + day.toordinal()

        return DayOfOrders(
            self._by_seat(rows["customer_id"], np.ones(len(seat))).astype(np.int64),
            seat[late],
            known_from(late, "delivery_days"),
            seat[returned],
            known_from(returned, "settled_days"),
        )

    def _by_seat(self, customers: pl.Series, values: Floats) -> Floats:
        count = self._population.customers
        found: Floats = np.bincount(seats(customers), values, count).astype(np.float64)
        return found

    def before(self, day: date) -> PastMonth:
        """The MONTH_DAYS before `day`. An earlier inhabitant's days count as nothing."""
        lived = self._population.days_lived(day)
        sums = [np.zeros(self._population.customers) for _ in range(4)]
        for back in range(1, MONTH_DAYS + 1):
            then = day - timedelta(days=back)
            same, found = lived >= back, self.ordering(then)
            late = found.late[found.late_from <= day.toordinal()]
            returned = found.returned[found.returned_from <= day.toordinal()]
            sums[0] += found.orders * same
            sums[1] += np.bincount(late, minlength=len(same)) * same
            sums[2] += np.bincount(returned, minlength=len(same)) * same
            sums[3] += self.spent(then) * same
        return PastMonth(*sums)

    def after(self, day: date) -> Floats:
        """What each seat's inhabitant of `day` pays in the MONTH_DAYS after it, euro."""
        lived = self._population.days_lived(day)
        total = np.zeros(self._population.customers)
        for ahead in range(1, MONTH_DAYS + 1):
            total += self.spent(day + timedelta(days=ahead)) * (lived + ahead < TENURE_DAYS)
        return total.round(2)
