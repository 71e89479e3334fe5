"""Which days of the offline store are out of date.

A record keeps the lake files from which each day was built, to compare them with the lake now.

    <offline store>/inputs.json  {"<definition hash>": .., "days": {"2018-06-10": "<fingerprint>"}}

The fingerprint is of the day's lake files.

A fingerprint covers names, sizes and times of files, and not their contents. Lake files are written
once, and a day looks back on hundreds of them.
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
    """The inputs of the offline store. A new definition of features makes every day out of date.

    Attributes:
        definitions: Hash of the feature definitions.
        days: Day -> fingerprint of its lake files.
        lake_from: The lake's earliest first day at any build. None before the first build.
    """

    definitions: str
    days: dict[date, str]
    lake_from: date | None = None


def fingerprints(lake: Lake, start: date, end: date) -> dict[date, str]:
    """Return the fingerprint of each day from `start` to `end`.

    It covers the day's own lake files and the files within reach of its windows.
    """
    partitions = _partitions(lake, start - offline.HISTORY, end)
    reach = range(offline.HISTORY.days + 1)
    result = {}
    for offset in range((end - start).days + 1):
        day = start + timedelta(days=offset)
        parts = [partitions.get(day - timedelta(days=back), "") for back in reach]
        result[day] = hashlib.sha256("|".join(parts).encode()).hexdigest()
    return result


def outdated(directory: Path, wanted: Mapping[date, str], lake_from: date) -> list[date]:
    """Return the days to build, in order.

    Their files are missing in the offline store, or were built from other lake files. A day built
    from more history than the lake has now stays unchanged, because retention has deleted that
    history.

    Args:
        directory: The offline store.
        wanted: Day -> fingerprint of its lake files now.
        lake_from: The lake's first day now.
    """
    built = read_built(directory)
    cut = built.lake_from is not None and lake_from > built.lake_from
    whole_from = lake_from + offline.HISTORY if cut else lake_from

    def is_outdated(day: date, fingerprint: str) -> bool:
        if (
            not all(offline.offline_file(directory, view, day).exists() for view in VIEWS)
            or day not in built.days
        ):
            return True
        return day >= whole_from and built.days[day] != fingerprint

    return [day for day, fingerprint in sorted(wanted.items()) if is_outdated(day, fingerprint)]


def record_built(directory: Path, days: Mapping[date, str], lake_from: date) -> None:
    """Note the inputs of `days`. Call it when their files are written."""
    built = read_built(directory)
    earliest = min(filter(None, (built.lake_from, lake_from)))
    target = directory / INPUTS_FILE
    temporary = target.with_name(f".{INPUTS_FILE}.{os.getpid()}.tmp")
    temporary.write_bytes(
        msgspec.json.encode(BuiltFrom(built.definitions, {**built.days, **days}, earliest))
    )
    temporary.replace(target)


def read_built(directory: Path) -> BuiltFrom:
    """Return the store's recorded inputs.

    Without days when other definitions built it, or when the record cannot be read.
    """
    current = definition_hash()
    try:
        built = msgspec.json.decode((directory / INPUTS_FILE).read_bytes(), type=BuiltFrom)
    except (OSError, msgspec.MsgspecError):
        return BuiltFrom(current, {})
    return built if built.definitions == current else BuiltFrom(current, {})


def _partitions(lake: Lake, start: date, end: date) -> dict[date, str]:
    """Return day -> names, sizes and times of its files, for the streams that features need."""
    found: dict[date, list[str]] = {}
    for stream in dict.fromkeys(source.stream for source in sources(VIEWS.values())):
        for path in lake.files(stream, start, end):
            status = path.stat()
            day = date.fromisoformat(path.parent.name.removeprefix("date="))
            found.setdefault(day, []).append(
                f"{stream}/{path.name}:{status.st_size}:{status.st_mtime_ns}"
            )
    return {day: ",".join(files) for day, files in found.items()}
