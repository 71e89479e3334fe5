"""Deletes days of the lake and of the offline store that no model's spec keeps any longer (`data.retention`, world time).

Every model's features read the same streams, so the longest retention of all models holds for all of them. The audit entry is
written before the files go: a deletion that was cut short is in the trail, and the next look finishes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import polars as pl
import structlog

from dojo.core.events.types import Stream
from dojo.core.lake import Lake, utc_date
from dojo.core.registry.errors import UnknownVersionError
from dojo.core.registry.versions import CHAMPION, ModelRegistry
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import AuditTrail, Entry
from pipelines.features import offline
from pipelines.training.dataset.collect import MANIFEST_FILE, Manifest

log = structlog.get_logger()

# `model@version` of each champion -> what it was trained on.
Champions = Callable[[], Mapping[str, Manifest]]


class ExpiredStream(msgspec.Struct, frozen=True):
    """What is too old of one stream. `first` and `last` are world days, both included."""

    first: date
    last: date
    days: int
    files: int
    rows: int
    bytes: int


class Expired(msgspec.Struct, frozen=True):
    """What is too old in the lake.

    Attributes:
        before: Partitions of earlier world days go.
        reason: Whose retention decides.
        streams: Stream -> what goes of it. Streams of which nothing goes are left out.
        features: Files of the offline store that go.
        needed_by: Champion (`model@version`) -> its pinned files among them. It cannot be reproduced afterwards.
    """

    before: date
    reason: str
    streams: dict[Stream, ExpiredStream]
    features: int
    needed_by: dict[str, int]


class Retention:
    """Asked at every look of its process; it acts once a world day.

    Args:
        offline_dir: The offline store, which holds what was computed from the lake.
        champions: Asked only when something is too old.
    """

    def __init__(
        self, lake: Lake, offline_dir: Path, specs: Mapping[str, ModelSpec], audit: AuditTrail, champions: Champions
    ) -> None:
        self._lake, self._offline, self._specs = lake, offline_dir, specs
        self._audit, self._champions = audit, champions
        self._done: date | None = None

    def daily(self, now: datetime) -> None:
        """Delete what is too old, unless that was done today. Raises RedisError, RegistryUnavailableError: nothing was deleted."""
        if self._done != utc_date(now):
            self.delete(now)
            self._done = utc_date(now)

    def delete(self, now: datetime) -> Expired:
        """Record what is too old, and delete it."""
        expired = self.expired(now)
        if expired.streams or expired.features:
            self._record(expired, now)
        for stream in Stream:
            self._lake.delete(stream, expired.before)
        offline.delete_days(self._offline, expired.before)
        return expired

    def expired(self, now: datetime) -> Expired:
        """What `delete` would delete now."""
        longest = max(self._specs.values(), key=lambda spec: spec.data.retention)
        before = utc_date(now - longest.data.retention)
        files = {stream: found for stream in Stream if (found := self._files(stream, before))}
        going = {path.relative_to(self._lake.root).as_posix() for paths in files.values() for path in paths}
        champions = self._champions() if going else {}
        pinned = {name: sum(file.path in going for file in manifest.files) for name, manifest in champions.items()}
        kept = format_duration(longest.data.retention)
        return Expired(
            before,
            f"data.retention of {longest.name}, {kept}, is the longest of {len(self._specs)} models",
            {stream: self._measure(stream, found) for stream, found in files.items()},
            len(offline.files_before(self._offline, before)),
            {name: count for name, count in pinned.items() if count},
        )

    def _files(self, stream: Stream, before: date) -> list[Path]:
        return self._lake.files(stream, None, before - timedelta(days=1))

    def _measure(self, stream: Stream, files: list[Path]) -> ExpiredStream:
        days = sorted({date.fromisoformat(path.parent.name.removeprefix("date=")) for path in files})
        rows = self._lake.scan(stream, files=files).select(pl.len()).collect().item()
        return ExpiredStream(days[0], days[-1], len(days), len(files), rows, sum(path.stat().st_size for path in files))

    def _record(self, expired: Expired, now: datetime) -> None:
        streams = ", ".join(f"{stream} {one.days} days ({one.rows:,} rows)" for stream, one in expired.streams.items())
        features = f"{', ' if streams else ''}{expired.features} files of the offline store" if expired.features else ""
        lost = "".join(
            f"; {champion} cannot be reproduced any more, {count} of its pinned files are among them"
            for champion, count in expired.needed_by.items()
        )
        self._audit.record(
            Entry(
                entry_id=f"retention:{hashlib.sha256(msgspec.json.encode(expired)).hexdigest()}",
                kind="data",
                model="",  # the lake is every model's
                who="materializer",
                what=f"lake before {expired.before} deleted: {streams}{features}{lost}",
                why=expired.reason,
                before=msgspec.to_builtins(expired.streams),
                world_time=now,
            )
        )


def champions_of(registry: ModelRegistry, specs: Mapping[str, ModelSpec]) -> dict[str, Manifest]:
    """What each model's champion was trained on; without those whose record cannot be read. Raises RegistryUnavailableError."""
    from pipelines.release.mlflow_run import RECORD_PATH  # its imports weigh 100 MB, and are needed on few days

    found = {}
    for model in specs:
        version = registry.by_alias(model, CHAMPION)
        if version is not None:
            with TemporaryDirectory() as directory:
                try:
                    file = registry.download_run_artifact(version, f"{RECORD_PATH}/{MANIFEST_FILE}", Path(directory))
                    found[f"{model}@{version.version}"] = Manifest.read(file)
                except (UnknownVersionError, FileNotFoundError, msgspec.MsgspecError) as error:
                    log.warning("a champion's manifest cannot be read", model=model, version=version.version, error=str(error))
    return found
