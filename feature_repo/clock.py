"""Hours and weekdays of a request's time, for formulas. Scalars and arrays alike."""

from __future__ import annotations

from typing import Any

HOUR = 3600.0  # seconds
DAY = 86400.0  # seconds

SATURDAY, SUNDAY = 5, 6


def seconds_of_day(now: Any) -> Any:
    """Return the seconds since midnight, UTC, of unix seconds."""
    return now % DAY


def weekday(now: Any) -> Any:
    """Return 0 for Monday to 6 for Sunday, UTC, of unix seconds."""
    return (now // DAY + 3) % 7  # 1970-01-01 was a Thursday
