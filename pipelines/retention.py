"""Deletes old days of the lake and the offline store (`data.retention`, world time).

All models' features read the same streams. So the longest retention of all models holds for all of
them. The audit entry is written before the files go. The trail shows an interrupted deletion, and
the next look finishes it.
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

from dojo.core.events.streams import LAKE_TYPES
from dojo.core.lake import Lake, utc_date
from dojo.core.registry.errors import UnknownVersionError
from dojo.core.registry.versions import CHAMPION, ModelRegistry
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import AuditTrail, Entry
from dojo.core.tasks.specs import LoadedSpecs
from pipelines.features import offline
from pipelines.training.dataset.collect import MANIFEST_FILE, Manifest

log = structlog.get_logger()

# Returns `model@version` of each champion -> its training data.
Champions = Callable[[], Mapping[str, Manifest]]


class ExpiredStream(msgspec.Struct, frozen=True):
    """The too old part of one stream.

    Attributes:
        first: First world day, included.
        last: Last world day, included.
        days: Number of days with files.
        files: Number of files.
        rows: Number of rows.
        bytes: Size of the files, in bytes.
    """

    first: date
    last: date
    days: int
    files: int
    rows: int
    bytes: int


class Expired(msgspec.Struct, frozen=True):
    """The too old part of the lake and the offline store.

    Attributes:
        before: Partitions of earlier world days go.
        reason: The model with the deciding retention, in words.
        streams: str -> its part that goes. Streams without such a part are left out.
        features: Number of files of the offline store that go.
        needed_by: Champion (`model@version`) -> number of its pinned files that go. The champion
            cannot be reproduced afterwards.
    """

    before: date
    reason: str
    streams: dict[str, ExpiredStream]
    features: int
    needed_by: dict[str, int]


class Retention:
    """Deletes old days. Its process calls it at every look, and it acts once per world day.

    Args:
        lake: The lake.
        offline_dir: The offline store, computed from the lake.
        loaded: Specs of all models. A wrong spec holds every deletion back, because the days that
            its model needs are not known.
        audit: The audit trail.
        champions: Returns the champions' manifests. Called only when something is too old.
    """

    def __init__(
        self,
        lake: Lake,
        offline_dir: Path,
        loaded: LoadedSpecs,
        audit: AuditTrail,
        champions: Champions,
    ) -> None:
        self._lake, self._offline, self._specs = lake, offline_dir, loaded.specs
        self.held_back = held_back(loaded.faults)
        self._audit, self._champions = audit, champions
        self._done: date | None = None

    def daily(self, now: datetime) -> None:
        """Delete what is too old, unless that was done today or `held_back` says why not.

        Raises:
            RedisError, RegistryUnavailableError: Nothing was deleted.
        """
        if self._done != utc_date(now):
            if self.held_back:
                log.warning(self.held_back)
            else:
                self.delete(now)
            self._done = utc_date(now)

    def delete(self, now: datetime) -> Expired:
        """Record the too old files, then delete them."""
        expired = self.expired(now)
        if expired.streams or expired.features:
            self._record(expired, now)
        for stream in LAKE_TYPES:
            self._lake.delete(stream, expired.before)
        offline.delete_days(self._offline, expired.before)
        return expired

    def expired(self, now: datetime) -> Expired:
        """Return what `delete` would delete now."""
        longest = max(self._specs.values(), key=lambda spec: spec.data.retention)
        before = utc_date(now - longest.data.retention)
        files = {stream: found for stream in LAKE_TYPES if (found := self._files(stream, before))}
        going = {
            path.relative_to(self._lake.root).as_posix()
            for paths in files.values()
            for path in paths
        }
        champions = self._champions() if going else {}
        pinned = {
            name: sum(file.path in going for file in manifest.files)
            for name, manifest in champions.items()
        }
        kept = format_duration(longest.data.retention)
        return Expired(
            before,
            f"data.retention of {longest.name}, {kept}, is the longest of {len(self._specs)}"
            " models",
            {stream: self._measure(stream, found) for stream, found in files.items()},
            len(offline.files_before(self._offline, before)),
            {name: count for name, count in pinned.items() if count},
        )

    def _files(self, stream: str, before: date) -> list[Path]:
        return self._lake.files(stream, None, before - timedelta(days=1))

    def _measure(self, stream: str, files: list[Path]) -> ExpiredStream:
        days = sorted(
            {date.fromisoformat(path.parent.name.removeprefix("date=")) for path in files}
        )
        rows = self._lake.scan(stream, files=files).select(pl.len()).collect().item()
        return ExpiredStream(
            days[0],
            days[-1],
            len(days),
            len(files),
            rows,
            sum(path.stat().st_size for path in files),
        )

    def _record(self, expired: Expired, now: datetime) -> None:
        streams = ", ".join(
            f"{stream} {one.days} days ({one.rows:,} rows)"
            for stream, one in expired.streams.items()
        )
        features = (
            f"{', ' if streams else ''}{expired.features} files of the offline store"
            if expired.features
            else ""
        )
        lost = "".join(
            f"; {champion} cannot be reproduced any more, {count} of its pinned files are among"
            " them"
            for champion, count in expired.needed_by.items()
        )
        self._audit.record(
            Entry(
                entry_id=f"retention:{hashlib.sha256(msgspec.json.encode(expired)).hexdigest()}",
                kind="data",
                model="",  # the lake belongs to all models
                who="materializer",
                what=f"lake before {expired.before} deleted: {streams}{features}{lost}",
                why=expired.reason,
                before=msgspec.to_builtins(expired.streams),
                world_time=now,
            )
        )


def held_back(faults: Mapping[str, str]) -> str:
    """Return why nothing is deleted. Empty when nothing holds it back.

    Args:
        faults: Model -> what is wrong with its spec.
    """
    if not faults:
        return ""
    return (
        f"nothing is deleted while the spec of {', '.join(faults)} is wrong, because the days that"
        f" it needs are not known: {'; '.join(faults.values())}"
    )


def champions_of(registry: ModelRegistry, specs: Mapping[str, ModelSpec]) -> dict[str, Manifest]:
    """Return the training data of each model's champion.

    Champions without a readable record are left out.

    Raises:
        RegistryUnavailableError: MLflow does not answer.
    """
    from pipelines.release.mlflow_run import RECORD_PATH  # imports 100 MB, needed on few days

    found = {}
    for model in specs:
        version = registry.by_alias(model, CHAMPION)
        if version is not None:
            with TemporaryDirectory() as directory:
                try:
                    file = registry.download_run_artifact(
                        version, f"{RECORD_PATH}/{MANIFEST_FILE}", Path(directory)
                    )
                    found[f"{model}@{version.version}"] = Manifest.read(file)
                except (UnknownVersionError, FileNotFoundError, msgspec.MsgspecError) as error:
                    log.warning(
                        "a champion's manifest cannot be read",
                        model=model,
                        version=version.version,
                        error=str(error),
                    )
    return found
