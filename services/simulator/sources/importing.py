"""Imports: a checked file becomes a data set of ours, named by its content.

    <imports>/<name>-<first 12 of the content's hash>.parquet    sorted by time, ready to replay
    <imports>/<name>-<...>.json                                  its content, for people

The Parquet file appears whole under its name or not at all. A refused file leaves nothing. A kill
-9 leaves a hidden temporary file, which the next import removes. Importing the same content again,
under any file name, finds it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from dojo.core.events.types import EARLIEST
from dojo.core.lake import content_hash
from dojo.shop.datasets import USUAL_CSV, CsvFormat, DatasetError, Progress, read_transactions

# Rows that a replay reads at least for one day: two days of the public data set, 1 MB.
ROW_GROUP_ROWS = 20_000

_TEMPORARY_PREFIX = ".importing-"


class Imported(msgspec.Struct, frozen=True):
    """An imported data set.

    `sha256` is of the content (values in order), not of the file's bytes.
    """

    path: str
    source_name: str
    rows: int
    customers: int
    merchants: int
    first: datetime
    last: datetime
    fraud_rate: float
    sha256: str
    already_imported: bool


def import_transactions(
    source: Path,
    directory: Path,
    mapping: Mapping[str, str],
    progress: Progress,
    csv_format: CsvFormat = USUAL_CSV,
    note: Callable[[str], object] = lambda _: None,
) -> Imported:
    """Check a file of transactions and keep it as a data set.

    Args:
        note: Called with what was not taken as it is written.

    Raises:
        DatasetError: The file has faults. Nothing is kept.
        OSError: The directory cannot be written. Nothing is kept.
    """
    frame = read_transactions(
        source,
        mapping,
        lambda step, share: progress(step, 0.8 * share),
        csv_format=csv_format,
        note=note,
    )
    first: datetime = frame["time"][0]  # rows are in order of time
    if (
        first < EARLIEST
    ):  # a backtest may read such a file, but no world can live it: events have no such times
        raise DatasetError(
            f"{source}: time starts at {first:%Y-%m-%d}; a world can be replayed from"
            f" {EARLIEST:%Y-%m-%d} on"
        )
    progress("hashing", 0.8)
    sha256 = content_hash(frame)
    directory.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(directory)
    known = next(directory.glob(f"*-{sha256[:12]}.parquet"), None)
    target = known or directory / f"{_safe_name(source.stem)}-{sha256[:12]}.parquet"
    imported = Imported(
        path=str(target.resolve()),
        source_name=source.name,
        rows=frame.height,
        customers=frame["customer_id"].n_unique(),
        merchants=frame["merchant_id"].n_unique(),
        first=frame["time"][0],
        last=frame["time"][-1],
        fraud_rate=float(frame["label"].sum()) / frame.height,
        sha256=sha256,
        already_imported=known is not None,
    )
    progress("writing", 0.85)
    if known is None:
        _write(
            target,
            lambda temporary: frame.write_parquet(
                temporary, compression="zstd", row_group_size=ROW_GROUP_ROWS
            ),
        )
    # After the data, because a summary without its data set would mislead. A data set without
    # summary gets one on the next import.
    if not target.with_suffix(".json").exists():
        summary = msgspec.json.format(msgspec.json.encode(imported), indent=2)
        _write(target.with_suffix(".json"), lambda temporary: temporary.write_bytes(summary))
    progress("done", 1.0)
    return imported


def _write(target: Path, write: Callable[[Path], object]) -> None:
    """Make a file appear whole, durably, or not at all."""
    temporary = target.with_name(f"{_TEMPORARY_PREFIX}{os.getpid()}-{target.name}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(directory: Path) -> None:
    """Temporary files of imports that were killed."""
    for leftover in directory.glob(f"{_TEMPORARY_PREFIX}*"):
        process = leftover.name.removeprefix(_TEMPORARY_PREFIX).split("-")[0]
        if not (process.isdigit() and _is_alive(int(process))):
            leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process, but alive
        return True
    return True


def _safe_name(stem: str) -> str:
    """A file name's stem in characters that need no quoting anywhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "transactions"
