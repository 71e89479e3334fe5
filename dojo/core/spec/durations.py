"""Durations as people write them in specs: `250ms`, `90s`, `30m`, `4h`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

# Microseconds per unit, longest first. Integers, because 0.1 s must come back as 0.1 s.
_UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_PATTERN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> timedelta:
    """Return the duration of a text such as `"4h"`, to the microsecond.

    A bare number is refused, because its unit is unknown.

    Raises:
        ValueError: The text is not a positive number followed by one of ms, s, m, h, d. Or it is
            beyond Python's longest duration (2.7 million years).
    """
    if isinstance(value, timedelta):
        return value
    match = _PATTERN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f"expected a duration with its unit, such as 250ms, 90s, 30m, 4h or 7d, got {value!r}"
        )
    try:
        duration = timedelta(microseconds=int(Decimal(match[1]) * _UNITS[match[2]]))
    except OverflowError:
        raise ValueError(f"{value} is longer than a duration can be") from None
    if duration <= timedelta(0):
        raise ValueError(f"expected a positive duration, got {value}")
    return duration


def format_duration(value: timedelta) -> str:
    """Return the shortest exact spelling.

    `timedelta(days=7)` gives `"7d"`, 1.5 s gives `"1500ms"`.
    """
    microseconds = value // timedelta(microseconds=1)
    for unit, length in _UNITS.items():
        if microseconds % length == 0:
            return f"{microseconds // length}{unit}"
    return f"{Decimal(microseconds) / _UNITS['ms']:f}ms"


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
