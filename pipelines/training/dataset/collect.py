"""Step 1: decide what a version learns from, and pin it.

World time, half-open intervals, cut at midnights:

    warm_up ............ start ......................... end ..... as_of
       feeds features       examples (spec.training.window)  labels still
                                                             arriving (label.delay.maximum)

Every example's label has arrived by `as_of`. Lake files are pinned by content: the same manifest gives the same rows for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import Lake, LakeFile, file_sha256, midnight
from dojo.core.spec.durations import format_duration
from dojo.core.spec.load import ModelSpec
from pipelines.features.offline import HISTORY
from pipelines.training.errors import LakeChangedError, StaleDataError, TooFewRowsError

MANIFEST_FILE = "lake_manifest.json"

# What the first example's features look back at; the day more is for those before the morning's publication. With less lake than
# that, windows begin where the lake does, as they did in serving.
WARM_UP = HISTORY + timedelta(days=1)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version was trained on: instants (UTC), and the lake's files with their hashes."""

    model: str
    warm_up: datetime
    start: datetime
    end: datetime
    as_of: datetime
    transactions: tuple[LakeFile, ...]
    outcomes: tuple[LakeFile, ...]

    @property
    def files(self) -> tuple[LakeFile, ...]:
        """Every pinned file."""
        return (*self.transactions, *self.outcomes)

    def write(self, workspace: Path) -> Path:
        path = workspace / MANIFEST_FILE
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))
        return path

    @staticmethod
    def read(path: Path) -> Manifest:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)


def collect(lake: Lake, spec: ModelSpec, as_of: datetime) -> Manifest:
    """Pin the transactions and the outcomes that had arrived by `as_of` (world time, timezone-aware).

    Raises:
        StaleDataError: the newest transaction before `as_of` is older than spec.training.checks.staleness, or there is none.
        TooFewRowsError: fewer than spec.training.minimum_rows transactions in the window.
    """
    as_of = as_of.astimezone(UTC)
    _require_fresh(lake, as_of, spec.training.checks.staleness)
    first_day, _ = lake.days(Stream.TRANSACTIONS) or (as_of.date(), as_of.date())
    end = midnight(as_of - spec.label.delay.maximum)
    start = max(end - spec.training.window, datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC))
    warm_up = start - WARM_UP
    rows = lake.scan(Stream.TRANSACTIONS, start, end).select(pl.len()).collect().item()
    if rows < spec.training.minimum_rows:
        raise TooFewRowsError(
            f"{spec.name}: expected at least {spec.training.minimum_rows:,} transactions from {start:%Y-%m-%d} to {end:%Y-%m-%d} "
            f"({format_duration(spec.training.window)} that end {format_duration(spec.label.delay.maximum)} before "
            f"{as_of:%Y-%m-%d %H:%M}), found {rows:,}"
        )
    return Manifest(
        model=spec.name,
        warm_up=warm_up,
        start=start,
        end=end,
        as_of=as_of,
        transactions=tuple(lake.manifest(Stream.TRANSACTIONS, warm_up.date(), end.date())),
        outcomes=tuple(lake.manifest(Stream.OUTCOMES, warm_up.date(), as_of.date())),
    )


def read_transactions(lake: Lake, manifest: Manifest) -> pl.DataFrame:
    """The pinned transactions with warm_up <= world_time < end, ordered by time and id."""
    found = lake.scan(Stream.TRANSACTIONS, manifest.warm_up, manifest.end, _paths(lake, manifest.transactions))
    columns = ("transaction_id", "customer_id", "merchant_id", "world_time", "amount")
    return found.select(columns).sort("world_time", "transaction_id").collect()


def read_outcomes(lake: Lake, manifest: Manifest) -> pl.DataFrame:
    """The pinned outcomes of those transactions that had arrived before `as_of`, ordered by arrival and id.

    Of every model: features may be computed from another model's labels.
    """
    found = lake.scan(Stream.OUTCOMES, None, manifest.as_of, _paths(lake, manifest.outcomes))
    in_period = pl.col("request_time").is_between(manifest.warm_up, manifest.end, closed="left")
    columns = ("model", "request_id", "request_time", "label", "world_time")
    # A broken request_time must reach validation, so only rows that are certainly of other periods go.
    return found.filter(in_period | pl.col("request_time").is_null()).select(columns).sort("world_time", "request_id").collect()


def verify(lake: Lake, manifest: Manifest) -> None:
    """Raises LakeChangedError, naming every pinned file that is missing or has other bytes."""
    faults = []
    for file in manifest.files:
        path = lake.root / file.path
        if not path.exists():
            faults.append(f"{file.path}: missing")
        elif (found := file_sha256(path)) != file.sha256:
            faults.append(f"{file.path}: changed, SHA-256 was {file.sha256[:12]}…, is {found[:12]}…")
    if faults:
        raise LakeChangedError("the lake no longer holds what was pinned:\n  " + "\n  ".join(faults))


def _require_fresh(lake: Lake, as_of: datetime, staleness: timedelta) -> None:
    days = lake.days(Stream.TRANSACTIONS)
    recent = lake.scan(Stream.TRANSACTIONS, as_of - staleness, as_of).select(pl.col("world_time").max()).collect().item()
    if recent is None:
        found = "none at all" if days is None else f"transactions from {days[0]} to {days[1]}"
        raise StaleDataError(
            f"stale data: expected a transaction in the {format_duration(staleness)} before {as_of:%Y-%m-%d %H:%M} UTC, "
            f"the lake at {lake.root} holds {found}"
        )


def _paths(lake: Lake, files: Sequence[LakeFile]) -> list[Path]:
    return [lake.root / file.path for file in files]
