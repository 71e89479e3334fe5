"""Closed hours become days, and old windows are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from redis.client import Pipeline

from services.monitor.counting.state import (
    DAYS_KEPT,
    HOURS_KEPT,
    OPEN_FROM_KEY,
    VERSIONS_KEY,
    Key,
    MonitorMemory,
    Store,
    field_of,
    labels_key,
    profile_key,
    seen_key,
    windows_key,
)
from services.monitor.counting.windows import floor


def close_hours(store: Store, known: MonitorMemory, now: datetime) -> bool:
    """Merge the hours that take no more events into their days, and forget old windows.

    Returns:
        Whether there was anything to do.
    """
    open_from = floor(now - HOURS_KEPT, "day")  # whole days, kept either as hours or as their sum
    if known.open_from is not None and open_from <= known.open_from:
        return False
    oldest = open_from - DAYS_KEPT
    done = MonitorMemory()
    gone: dict[Key, tuple[list[datetime], list[datetime]]] = {}
    for key in {*known.hours, *known.days}:
        closing = sorted(hour for hour in known.hours.get(key, {}) if hour < open_from)
        for day in {day for hour in closing if (day := floor(hour, "day")) >= oldest}:
            window = known.window(key, "day", day)
            assert window is not None
            done.days.setdefault(key, {})[day] = window
        gone[key] = closing, [day for day in known.days.get(key, {}) if day < oldest]
    gone_labels: dict[str, tuple[list[datetime], list[datetime]]] = {}
    for model in {*known.label_hours, *known.label_days}:
        closing = sorted(hour for hour in known.label_hours.get(model, {}) if hour < open_from)
        for day in {day for hour in closing if (day := floor(hour, "day")) >= oldest}:
            done.label_days.setdefault(model, {})[day] = known.labels(model, "day", day)
        gone_labels[model] = (
            closing,
            [day for day in known.label_days.get(model, {}) if day < oldest],
        )
    seen = [entry for entry in known.seen if entry[1] < open_from]

    def commands(pipe: Pipeline) -> None:
        pipe.set(OPEN_FROM_KEY, field_of(open_from, "hour"))
        for key, (hours, days) in gone.items():
            for day, window in done.days.get(key, {}).items():
                pipe.hset(windows_key(key), mapping={field_of(day, "day"): window.to_bytes()})
            if fields := [
                *(field_of(hour, "hour") for hour in hours),
                *(field_of(day, "day") for day in days),
            ]:
                pipe.hdel(windows_key(key), *fields)
            if _forgotten(known, done, key, hours, days):
                pipe.srem(VERSIONS_KEY, ":".join(key))
                pipe.delete(profile_key(key), windows_key(key))
        for model, (hours, days) in gone_labels.items():
            for day, labels in done.label_days.get(model, {}).items():
                pipe.hset(labels_key(model), mapping={field_of(day, "day"): labels.to_bytes()})
            if fields := [
                *(field_of(hour, "hour") for hour in hours),
                *(field_of(day, "day") for day in days),
            ]:
                pipe.hdel(labels_key(model), *fields)
        if seen:
            pipe.delete(*(seen_key(*entry) for entry in seen))

    store.write(commands)
    for key, (hours, days) in gone.items():
        if _forgotten(known, done, key, hours, days):
            for table in (known.hours, known.days, known.profiles, known.plans):
                table.pop(key, None)
            continue
        known.days.setdefault(key, {}).update(done.days.get(key, {}))
        for hour in hours:
            del known.hours[key][hour]
        for day in days:
            del known.days[key][day]
    for model, (hours, days) in gone_labels.items():
        known.label_days.setdefault(model, {}).update(done.label_days.get(model, {}))
        for hour in hours:
            del known.label_hours[model][hour]
        for day in days:
            del known.label_days[model][day]
    for entry in seen:
        del known.seen[entry]
    known.open_from = open_from
    return True


def _forgotten(
    known: MonitorMemory,
    done: MonitorMemory,
    key: Key,
    hours: Sequence[datetime],
    days: Sequence[datetime],
) -> bool:
    """Whether a version has no window left."""
    left = (
        len(known.hours.get(key, {}))
        - len(hours)
        + len(known.days.get(key, {}))
        - len(days)
        + len(done.days.get(key, {}))
    )
    return left == 0
