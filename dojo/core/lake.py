"""The lake: every event of a stream, as Parquet files partitioned by the world date of the event.

    <root>/<stream>/date=2018-06-10/<name>.parquet

Files are written whole (temporary name, fsync, rename). They never change until their day is too
old (`pipelines/retention.py`). So a list of file names and hashes pins a data set for good
(`manifest`). Each writer owns its file names. History is `history.parquet`, and the recorder
writes `part-<first message id>.parquet`. Batch scoring writes `<model>-v<version>-<chunk>.parquet`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from dojo.core.events.columns import schema_of
from dojo.core.events.streams import LAKE_TYPES

# The last bytes of every Parquet file.
PARQUET_END = b"PAR1"

# Column names and types on disk, per stream.
SCHEMAS = {stream: schema_of(event_type) for stream, event_type in LAKE_TYPES.items()}


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One file of a manifest. `path` is relative to the lake's root, `sha256` is of its bytes."""

    path: str
    sha256: str


class UnreadableFileError(OSError):
    """Files of the lake are not whole. The message names them."""


class Lake:
    """Reads and writes the lake under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def partition(self, stream: str, day: date) -> Path:
        return self.root / stream / f"date={day.isoformat()}"

    def write(self, stream: str, frame: pl.DataFrame, name: str) -> list[Path]:
        """Write rows into their day's partition as `<name>.parquet`.

        Each partition is written atomically. The same name replaces an earlier file.

        Args:
            frame: Columns as in SCHEMAS[stream]. Other columns are refused.

        Returns:
            The files written, in order of day.

        Raises:
            ValueError: Columns are missing or unknown.
        """
        schema = SCHEMAS[stream]
        if set(frame.columns) != set(schema):
            raise ValueError(
                f"{stream}: expected columns {sorted(schema)}, got {sorted(frame.columns)}"
            )
        frame = frame.select(*schema).cast(schema)  # type: ignore[arg-type]
        days = frame.with_columns(pl.col("world_time").dt.date().alias("_day")).partition_by(
            "_day", as_dict=True
        )
        written = []
        for (day,), rows in sorted(days.items()):
            target = self.partition(stream, day) / f"{name}.parquet"
            write_parquet_atomically(rows.drop("_day"), target)
            written.append(target)
        return written

    def files(self, stream: str, start: date | None = None, end: date | None = None) -> list[Path]:
        """Files of the partitions from `start` to `end`, both included, by day and name.

        None is unbounded.
        """
        found = []
        for partition in sorted((self.root / stream).glob("date=*")):
            day = _day_of(partition)
            if (start is None or day >= start) and (end is None or day <= end):
                found += sorted(partition.glob("*.parquet"))
        return found

    def scan(
        self,
        stream: str,
        start: datetime | None = None,
        end: datetime | None = None,
        files: Iterable[Path] | None = None,
    ) -> pl.LazyFrame:
        """Rows with start <= world_time < end, lazily.

        When there are none, the frame is empty and has the right schema.

        Args:
            files: Files to read (a pinned manifest). None reads the files that are there now.
        """
        paths = (
            list(files)
            if files is not None
            else self.files(stream, start and utc_date(start), end and utc_date(end))
        )
        if not paths:
            return pl.LazyFrame(schema=SCHEMAS[stream])
        # Files from before a column existed have it as null. Columns of a newer recorder are
        # ignored.
        frame = pl.scan_parquet(
            paths,
            schema=SCHEMAS[stream],
            missing_columns="insert",
            extra_columns="ignore",
            hive_partitioning=False,
            glob=False,
        )
        if start is not None:
            frame = frame.filter(pl.col("world_time") >= start)
        if end is not None:
            frame = frame.filter(pl.col("world_time") < end)
        return frame

    def days(self, stream: str) -> tuple[date, date] | None:
        """First and last day that has a partition, or None."""
        partitions = sorted((self.root / stream).glob("date=*"))
        first = next((path for path in partitions if _holds_a_file(path)), None)
        last = next((path for path in reversed(partitions) if _holds_a_file(path)), None)
        if first is None or last is None:
            return None
        return _day_of(first), _day_of(last)

    def newest(self, stream: str) -> datetime | None:
        """World time (UTC) of the newest row, None without any.

        As far as events come in order, the lake is whole up to it.
        """
        span = self.days(stream)
        if span is None:
            return None
        files = self.files(stream, span[1], span[1])
        newest: datetime = (
            self.scan(stream, files=files).select(pl.col("world_time").max()).collect().item()
        )
        return newest.astimezone(UTC)

    def unreadable(self) -> list[Path]:
        """Return the files without a Parquet file's end, as an interrupted copy leaves them."""
        return [path for path in sorted(self.root.glob("*/date=*/*.parquet")) if not _ends(path)]

    @contextmanager
    def naming_unreadable(self) -> Iterator[None]:
        """Let an error of reading name the files at which it failed.

        Raises:
            UnreadableFileError: Polars could not read a file that is not whole.
        """
        try:
            yield
        except pl.exceptions.ComputeError as error:
            if not (broken := self.unreadable()):
                raise
            names = ", ".join(map(str, broken))
            raise UnreadableFileError(
                f"not whole Parquet files: {names}. Every reader of their days fails. Move them out"
                " of the lake, and leave the others there"
            ) from error

    def delete(self, stream: str, before: date) -> None:
        """Delete the partitions of earlier days. Repeating it finishes what was cut short."""
        for partition in (self.root / stream).glob("date=*"):
            if _day_of(partition) < before:
                shutil.rmtree(partition)

    def manifest(self, stream: str, start: date, end: date) -> list[LakeFile]:
        """What the partitions from `start` to `end` hold now, pinned by content."""
        return [
            LakeFile(str(path.relative_to(self.root)), file_sha256(path))
            for path in self.files(stream, start, end)
        ]


def _day_of(partition: Path) -> date:
    return date.fromisoformat(partition.name.removeprefix("date="))


def _ends(path: Path) -> bool:
    """Return whether a file has a Parquet file's last bytes. A file that is gone has."""
    try:
        with path.open("rb") as file:
            file.seek(-len(PARQUET_END), os.SEEK_END)
            return file.read() == PARQUET_END
    except FileNotFoundError:
        return True
    except OSError:  # shorter than its end
        return False


def _holds_a_file(partition: Path) -> bool:
    return any(partition.glob("*.parquet"))


def write_parquet_atomically(frame: pl.DataFrame, target: Path) -> None:
    """Readers see the whole file or none, also after a kill -9 or a power cut."""
    _make_directory(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            frame.write_parquet(file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _fsync_directory(target.parent)  # without it a power cut may forget the new name
    finally:
        temporary.unlink(missing_ok=True)


def _make_directory(directory: Path) -> None:
    missing = [d for d in (directory, *directory.parents) if not d.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for new in missing:
        _fsync_directory(new.parent)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(frame: pl.DataFrame, columns: Sequence[str] | None = None) -> str:
    """SHA-256 of a frame's values, independent of file format and chunking.

    Row and column order count.

    Args:
        columns: Columns that count, in this order. All by default.
    """
    selected = frame.select(columns) if columns is not None else frame
    digest = hashlib.sha256(repr(selected.schema).encode())
    for column in selected.iter_columns():
        _hash_values(digest, column)
    return digest.hexdigest()


def _hash_values(digest: hashlib._Hash, column: pl.Series) -> None:
    digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
    if column.dtype == pl.String:
        # Lengths first, so that ("ab", "c") and ("a", "bc") differ.
        digest.update(column.str.len_bytes().fill_null(0).to_numpy().tobytes())
        digest.update("".join(column.fill_null("")).encode())
    elif column.dtype == pl.List:
        lengths = column.list.len().fill_null(0)
        digest.update(lengths.to_numpy().tobytes())
        _hash_values(digest, column.filter(lengths > 0).explode())
    else:
        digest.update(np.ascontiguousarray(column.to_physical().fill_null(0).to_numpy()).tobytes())


def utc_date(moment: datetime) -> date:
    """The day whose partition holds `moment` (timezone-aware)."""
    return moment.astimezone(UTC).date()


def midnight(moment: datetime) -> datetime:
    """The start of the day that `moment` lies in, same time zone."""
    return moment - timedelta(
        hours=moment.hour,
        minutes=moment.minute,
        seconds=moment.second,
        microseconds=moment.microsecond,
    )


def start_of(day: date) -> datetime:
    """Midnight at the beginning of a day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
