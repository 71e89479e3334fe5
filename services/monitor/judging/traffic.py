"""Which versions of a model answered, and when. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from dojo.core.spec.schema import ModelSpec
from services.monitor.counting.state import NO_VERSION, Key, MonitorMemory
from services.monitor.counting.windows import LENGTH, floor


def answered(known: MonitorMemory, key: Key, day: datetime, spec: ModelSpec) -> bool:
    """Whether a version answered within the performance window that ends with a day."""
    days = round(spec.drift.performance.window / LENGTH["day"])
    return any(
        known.window(key, "day", day - LENGTH["day"] * back) is not None for back in range(days)
    )


def with_traffic(known: MonitorMemory, versions: Sequence[Key], day: datetime) -> set[Key]:
    """Return the versions that answered on the newest day with answers, up to `day`."""
    newest = max(
        (
            floor(start, "day")
            for key in versions
            for start in (*known.hours.get(key, {}), *known.days.get(key, {}))
            if start < day + LENGTH["day"]
        ),
        default=day,
    )
    return {key for key in versions if known.rows(key, "day", newest) > 0}


def most_traffic(known: MonitorMemory, model: str) -> str:
    """Return the version with the most answers in the kept hours, "" without any."""
    rows = {
        key[1]: sum(window.rows for window in hours.values())
        for key, hours in known.hours.items()
        if key[0] == model and key[1] != NO_VERSION
    }
    return max(rows, key=lambda version: rows[version], default="")
