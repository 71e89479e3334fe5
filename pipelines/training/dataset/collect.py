"""Step 1: decides what a version learns from, and pins it.

World time, half-open intervals, cut at midnights:

    warm_up ............ start ......................... end ..... as_of
       feeds features       examples (spec.training.window)  labels still
                                                             arriving (label.delay.maximum)

Every example's label has arrived by `as_of`. Lake files are pinned by content. The same manifest
always gives the same rows.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path

import msgspec
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import Lake, LakeFile, file_sha256, midnight, start_of
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from feature_repo import catalog
from pipelines.features.offline import HISTORY
from pipelines.training.errors import LakeChangedError, StaleDataError, TooFewRowsError

MANIFEST_FILE = "lake_manifest.json"

# How far the first example's features look back. The extra day is for examples before the morning's
# publication. In a shorter lake, windows begin where the lake begins, as they did in serving.
WARM_UP = HISTORY + timedelta(days=1)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version was trained on.

    Attributes:
        model: The model's name.
        warm_up: UTC time of the first event for features.
        start: UTC time of the first example.
        end: UTC time after the last example.
        as_of: UTC time at which labels were known.
        streams: str -> the lake's files, with their hashes.
    """

    model: str
    warm_up: datetime
    start: datetime
    end: datetime
    as_of: datetime
    streams: dict[str, tuple[LakeFile, ...]]

    @property
    def files(self) -> tuple[LakeFile, ...]:
        """Every pinned file."""
        return tuple(chain.from_iterable(self.streams.values()))

    def write(self, workspace: Path) -> Path:
        path = workspace / MANIFEST_FILE
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))
        return path

    @staticmethod
    def read(path: Path) -> Manifest:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)


def collect(lake: Lake, spec: ModelSpec, as_of: datetime) -> Manifest:
    """Pin the examples, the events behind their features, and the outcomes that arrived by `as_of`.

    Args:
        lake: The lake to read.
        spec: The model's spec.
        as_of: World time, timezone-aware.

    Raises:
        StaleDataError: The newest event before `as_of` is older than
            spec.training.checks.staleness, or there is none.
        TooFewRowsError: The window holds fewer events than spec.training.minimum_rows.
        SpecError: No stream records the events behind the model's requests.
    """
    as_of, requests = as_of.astimezone(UTC), catalog.recorded_requests(spec.feature_service).stream
    _require_fresh(lake, requests, as_of, spec.training.checks.staleness)
    first_day, _ = lake.days(requests) or (as_of.date(), as_of.date())
    start, end = examples_span(spec, first_day, as_of)
    warm_up = start - WARM_UP
    rows = lake.scan(requests, start, end).select(pl.len()).collect().item()
    if fault := row_fault(spec, requests, rows, as_of, start, end):
        raise TooFewRowsError(f"{spec.name}: {fault}")
    return Manifest(
        model=spec.name,
        warm_up=warm_up,
        start=start,
        end=end,
        as_of=as_of,
        streams={
            stream: tuple(
                lake.manifest(
                    stream, warm_up.date(), (as_of if stream == Stream.OUTCOMES else end).date()
                )
            )
            for stream in _columns_of(spec.feature_service)
        },
    )


def examples_span(spec: ModelSpec, first_day: date, as_of: datetime) -> tuple[datetime, datetime]:
    """Start and end of the examples of a version that is trained as of `as_of`.

    Args:
        first_day: The first day that has any.
    """
    end = midnight(as_of - spec.label.delay.maximum)
    return max(end - spec.training.window, start_of(first_day)), end


def row_fault(
    spec: ModelSpec, stream: str, rows: int, as_of: datetime, start: datetime, end: datetime
) -> str:
    """Why so many examples are too few; "" when they are enough."""
    if rows >= spec.training.minimum_rows:
        return ""
    return (
        f"expected at least {spec.training.minimum_rows:,} {stream} (spec: training.minimum_rows)"
        f" from {start:%Y-%m-%d} to {end:%Y-%m-%d} ({format_duration(spec.training.window)} that"
        f" end {format_duration(spec.label.delay.maximum)} before {as_of:%Y-%m-%d %H:%M}), found"
        f" {rows:,}"
    )


def read_streams(lake: Lake, manifest: Manifest, service: str) -> dict[str, pl.DataFrame]:
    """Return the pinned rows of every stream that a service learns from.

    All outcomes of one request are there, because features know at each moment the label of that
    moment. Events have warm_up <= world_time < end. Their outcomes had arrived before `as_of`. They
    are of every model, because features may be computed from another model's labels.
    """
    found = {}
    for stream, columns in _columns_of(service).items():
        outcomes = stream == Stream.OUTCOMES
        since, until = (None, manifest.as_of) if outcomes else (manifest.warm_up, manifest.end)
        rows = scan_pinned(lake, manifest, stream, since, until)
        if outcomes:
            # Drop only rows that certainly belong to other periods. A broken request_time must
            # reach validation.
            at = pl.col("request_time")
            rows = rows.filter(
                at.is_between(manifest.warm_up, manifest.end, closed="left") | at.is_null()
            )
        found[stream] = rows.select(columns).sort("world_time", columns[0]).collect()
    return found


def scan_pinned(
    lake: Lake,
    manifest: Manifest,
    stream: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pl.LazyFrame:
    """Return the pinned rows of one stream with since <= world_time < until, lazily."""
    files = [lake.root / file.path for file in manifest.streams[stream]]
    return lake.scan(stream, since, until, files)


def _columns_of(service: str) -> dict[str, list[str]]:
    """The streams that a service learns from, with their columns. The column of ids is first."""
    columns: dict[str, list[str]] = {
        Stream.OUTCOMES: [
            *("request_id", "model", "request_time", "label", "weight", "world_time", "wall_time")
        ]
    }
    for source in (catalog.recorded_requests(service), *catalog.sources(catalog.views_of(service))):
        known = columns.setdefault(source.stream, [source.key])
        known += [column for column in source.columns if column not in known]
    return columns


def verify(lake: Lake, manifest: Manifest) -> None:
    """Raise LakeChangedError with every pinned file that is missing or changed."""
    faults = []
    for file in manifest.files:
        path = lake.root / file.path
        if not path.exists():
            faults.append(f"{file.path}: missing")
        elif (found := file_sha256(path)) != file.sha256:
            faults.append(
                f"{file.path}: changed, SHA-256 was {file.sha256[:12]}…, is {found[:12]}…"
            )
    if faults:
        raise LakeChangedError(
            "the lake no longer holds what was pinned:\n  " + "\n  ".join(faults)
        )


def _require_fresh(lake: Lake, stream: str, as_of: datetime, staleness: timedelta) -> None:
    days = lake.days(stream)
    recent = (
        lake.scan(stream, as_of - staleness, as_of)
        .select(pl.col("world_time").max())
        .collect()
        .item()
    )
    if recent is None:
        found = "none at all" if days is None else f"some from {days[0]} to {days[1]}"
        raise StaleDataError(
            f"stale data: expected {stream} in the {format_duration(staleness)} before"
            f" {as_of:%Y-%m-%d %H:%M} UTC, the lake at {lake.root} holds {found}"
        )
