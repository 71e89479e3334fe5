"""Which days of the offline store are out of date: what each day was built from, and what the lake holds now.

    <offline store>/inputs.json    {"<definition hash>": ..., "days": {"2018-06-10": "<fingerprint of its lake files>"}}

Names, sizes and times of files, not their contents: lake files are written once, and a day looks back on hundreds of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import msgspec

from dojo.core.lake import Lake
from feature_repo.catalog import VIEWS, definition_hash, sources
from pipelines.features import offline

INPUTS_FILE = "inputs.json"


class BuiltFrom(msgspec.Struct, frozen=True):
    """What the offline store was built from: another definition of features makes every day out of date.

    Attributes:
        days: Day -> fingerprint of its lake files.
        lake_from: The earliest first day that the lake ever had while days were built. None before the first.
    """

    definitions: str
    days: dict[date, str]
    lake_from: date | None = None


def fingerprints(lake: Lake, start: date, end: date) -> dict[date, str]:
    """Of the lake files that each day from `start` to `end` is computed from: its own and those that its windows reach."""
    partitions = _partitions(lake, start - offline.HISTORY, end)
    reach = range(offline.HISTORY.days + 1)
    result = {}
    for offset in range((end - start).days + 1):
        day = start + timedelta(days=offset)
        parts = [partitions.get(day - timedelta(days=back), "") for back in reach]
        result[day] = hashlib.sha256("|".join(parts).encode()).hexdigest()
    return result


def outdated(directory: Path, wanted: Mapping[date, str], lake_from: date) -> list[date]:
    """The days whose files are missing in the offline store, or were built from other lake files, in order.

    A day that was built from more history than the lake has now stays as it is: retention has taken that history.

    Args:
        lake_from: The first day that the lake has now.
    """
    built = read_built(directory)
    cut = built.lake_from is not None and lake_from > built.lake_from
    whole_from = lake_from + offline.HISTORY if cut else lake_from

    def is_outdated(day: date, fingerprint: str) -> bool:
        if not all(offline.offline_file(directory, view, day).exists() for view in VIEWS) or day not in built.days:
            return True
        return day >= whole_from and built.days[day] != fingerprint

    return [day for day, fingerprint in sorted(wanted.items()) if is_outdated(day, fingerprint)]


def record_built(directory: Path, days: Mapping[date, str], lake_from: date) -> None:
    """Note what `days` were built from; call it when their files are written."""
    built = read_built(directory)
    earliest = min(filter(None, (built.lake_from, lake_from)))
    target = directory / INPUTS_FILE
    temporary = target.with_name(f".{INPUTS_FILE}.{os.getpid()}.tmp")
    temporary.write_bytes(msgspec.json.encode(BuiltFrom(built.definitions, {**built.days, **days}, earliest)))
    temporary.replace(target)


def read_built(directory: Path) -> BuiltFrom:
    """What the store was built from; nothing when it was built by other definitions, or its record cannot be read."""
    current = definition_hash()
    try:
        built = msgspec.json.decode((directory / INPUTS_FILE).read_bytes(), type=BuiltFrom)
    except (OSError, msgspec.MsgspecError):
        return BuiltFrom(current, {})
    return built if built.definitions == current else BuiltFrom(current, {})


def _partitions(lake: Lake, start: date, end: date) -> dict[date, str]:
    """Day -> names, sizes and times of its files, of the streams that features are computed from."""
    found: dict[date, list[str]] = {}
    for stream in dict.fromkeys(source.stream for source in sources(VIEWS.values())):
        for path in lake.files(stream, start, end):
            status = path.stat()
            day = date.fromisoformat(path.parent.name.removeprefix("date="))
            found.setdefault(day, []).append(f"{stream}/{path.name}:{status.st_size}:{status.st_mtime_ns}")
    return {day: ",".join(files) for day, files in found.items()}
