"""When people pay, by hour of the day and by day of the week."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Share of a day's payments by hour, relative (normalised below). Peaks at lunch and after work.
# Weekends start late.
_WORKDAY = (3, 2, 1, 1, 1, 2, 8, 22, 34, 36, 40, 52, 68, 56, 44, 42, 50, 66, 74, 62, 42, 28, 16, 7)
_WEEKEND = (8, 6, 4, 2, 1, 1, 3, 8, 20, 40, 58, 66, 66, 60, 58, 58, 56, 52, 48, 46, 44, 36, 24, 14)

# Payments by weekday, Monday first, against the week's mean. Their mean is 1, so that a customer's
# rate is a weekly mean.
WEEKDAY_FACTOR = np.array([0.92, 0.94, 0.96, 1.00, 1.14, 1.16, 0.88])


def _cumulative(hours: tuple[int, ...]) -> Floats:
    weights = np.asarray(hours, dtype=np.float64)
    return np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])


_CUMULATIVE = {False: _cumulative(_WORKDAY), True: _cumulative(_WEEKEND)}


def times_of_day(uniform: Floats, day: date) -> Floats:
    """Uniform numbers in [0, 1) -> seconds after midnight with the day's rhythm.

    Within an hour they are evenly spread.
    """
    seconds: Floats = np.interp(uniform, _CUMULATIVE[day.weekday() >= 5], np.arange(25) * 3600.0)
    return seconds


def visits_of(
    random: np.random.Generator, customers: int, a_day: float, day: date
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Visits of a day: the seat of each, and seconds after midnight, in order of time.

    Args:
        random: Decides them.
        customers: Number of seats.
        a_day: Visits per customer and day, a weekly mean.
    """
    counts = random.poisson(a_day * WEEKDAY_FACTOR[day.weekday()], customers)
    seat = np.repeat(np.arange(customers), counts)
    seconds = times_of_day(random.random(len(seat)), day)
    order = np.argsort(seconds, kind="stable")
    return seat[order], seconds[order]
