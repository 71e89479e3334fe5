"""The windows that are due for judgement. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from services.monitor.counting.state import Key, MonitorMemory
from services.monitor.counting.windows import LENGTH, Kind, floor
from services.monitor.judging.records import WindowKey

# How long a version should answer after its last answer. If it is silent in this time, its windows
# are judged `insufficient_data`. After this time the version counts as retired and is not judged.
EXPECTED: dict[Kind, timedelta] = {"hour": timedelta(hours=24), "day": timedelta(days=2)}


def due_windows(
    known: MonitorMemory,
    judged: Mapping[WindowKey, int],
    model: str,
    kind: Kind,
    now: datetime,
    lateness: timedelta,
) -> list[tuple[datetime, list[Key]]]:
    """Return a model's finished windows without a judgement of their present rows.

    They come oldest first, with their versions. A window is finished when world time is `lateness`
    past its end. Later events make it due again.
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


def silent_windows(
    starts: set[datetime], kind: Kind, now: datetime, lateness: timedelta
) -> Iterator[datetime]:
    """Return the windows in which a version, or a model's labels, fell silent.

    Args:
        starts: Starts of the windows with content.
    """
    for last in sorted(starts):
        start = last + LENGTH[kind]
        while (
            start not in starts
            and start <= last + EXPECTED[kind]
            and start + LENGTH[kind] + lateness <= now
        ):
            yield start
            start += LENGTH[kind]
