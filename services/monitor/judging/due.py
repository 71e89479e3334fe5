"""Which windows are to be judged now. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from services.monitor.counting.state import Key, MonitorMemory
from services.monitor.counting.windows import LENGTH, Kind, floor
from services.monitor.judging.records import WindowKey

# A version is expected to answer for this long after its last answer: then its silence is judged (as insufficient_data), not overlooked. Later
# it is a version of the past.
EXPECTED: dict[Kind, timedelta] = {"hour": timedelta(hours=24), "day": timedelta(days=2)}


def due_windows(
    known: MonitorMemory, judged: Mapping[WindowKey, int], model: str, kind: Kind, now: datetime, lateness: timedelta
) -> list[tuple[datetime, list[Key]]]:
    """Windows of a model that are over and were not judged with the rows that they have now, oldest first, with their versions.

    A window is over when world time is `lateness` past its end; late events that come after that make it due again.
    """
    found: dict[datetime, set[Key]] = {}
    for key in [key for key in {*known.hours, *known.days} if key[0] == model]:
        starts = {floor(hour, kind) for hour in known.hours.get(key, {})}
        for start in starts | set(silent_windows(starts, kind, now, lateness)):
            if start + LENGTH[kind] + lateness > now:
                continue
            if judged.get((*key, kind, start)) != known.rows(key, kind, start):
                found.setdefault(start, set()).add(key)
    return [(start, sorted(found[start])) for start in sorted(found)]


def silent_windows(starts: set[datetime], kind: Kind, now: datetime, lateness: timedelta) -> Iterator[datetime]:
    """Windows in which a version that answered before (or labels, which came before) did not.

    Args:
        starts: of windows with something in them.
    """
    for last in sorted(starts):
        start = last + LENGTH[kind]
        while start not in starts and start <= last + EXPECTED[kind] and start + LENGTH[kind] + lateness <= now:
            yield start
            start += LENGTH[kind]
