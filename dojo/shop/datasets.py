"""External data sets of transactions: any CSV or Parquet file, checked and brought into one shape.

The names of the public fraud data set and our own names are recognised. Others are mapped
(`--map their_column=our_column`). All other columns are ignored. For example, the public
TX_FRAUD_SCENARIO explains the label and must never become a feature.

A file with faults is refused as a whole, with all its faults at once
(`dojo/shop/dataset_checks.py`). A row that repeats an earlier one corrects its label. The last row
counts.
"""

from __future__ import annotations

import csv
import gzip
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import polars as pl

from dojo.core.events.columns import UTC_MICROSECONDS
from dojo.core.state.clock import wall_now
from dojo.shop.dataset_checks import (
    Fault,
    check_amounts,
    check_ids,
    check_labels,
    check_times,
    check_unique,
    repeated,
)

# A canonical data set: one row per payment, sorted by time and id. `label` 1 is fraud.
TRANSACTION_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "transaction_id": pl.String,
    "customer_id": pl.String,
    "merchant_id": pl.String,
    "time": UTC_MICROSECONDS,
    "amount": pl.Float64,
    "label": pl.Int8,
}

# Lower-case names of the public data set (Reproducible Machine Learning for Credit Card Fraud
# Detection) -> our names.
_PUBLISHED = {
    "tx_datetime": "time",
    "terminal_id": "merchant_id",
    "tx_amount": "amount",
    "tx_fraud": "label",
}
_RECOGNISED = _PUBLISHED | {name: name for name in TRANSACTION_SCHEMA}

_PARQUET_MAGIC = b"PAR1"

# Called with the name of a step and the share of the work done before it, 0 to 1.
Progress = Callable[[str, float], None]

NO_MAPPING: Mapping[str, str] = MappingProxyType({})


LAST_TIME = datetime.max.replace(tzinfo=UTC)


class DatasetError(ValueError):
    """A file cannot be used.

    The message names every fault with column, row count and an example.
    """


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """How a CSV file is written.

    Attributes:
        separator: Character between cells.
        decimal_comma: True if amounts are written like 12,50.
    """

    separator: str = ","
    decimal_comma: bool = False


USUAL_CSV = CsvFormat()
_SEPARATORS = (",", ";", "\t", "|")


def read_transactions(
    path: Path,
    mapping: Mapping[str, str] = NO_MAPPING,
    progress: Progress | None = None,
    *,
    csv_format: CsvFormat = USUAL_CSV,
    future_allowed: bool = False,
    note: Callable[[str], object] = lambda _: None,
) -> pl.DataFrame:
    """Read and check a file of transactions.

    Args:
        path: CSV (with a header, may be gzipped) or Parquet.
        mapping: Their column -> ours, for other names. It wins over recognised names.
        progress: Called before each step.
        csv_format: How a CSV file is written.
        future_allowed: True for a backtest, which only compares times with each other. A world
            cannot have lived the future.
        note: Called with each fact about the file that the import did not take as it is written.

    Returns:
        Columns of TRANSACTION_SCHEMA, sorted by (time, transaction_id). Times without a zone are
        taken as UTC.

    Raises:
        DatasetError: The file cannot be read, or has faults. The message names all of them.
    """
    tell = progress or (lambda step, share: None)
    tell("reading", 0.0)
    raw = _read(path, csv_format)
    columns = _resolve_columns(path, raw.columns, mapping)
    if raw.height == 0:
        raise DatasetError(f"{path}: holds no rows, only the columns {', '.join(raw.columns)}")

    faults: list[Fault] = []
    checked: list[pl.Series] = []
    for done, (ours, theirs) in enumerate(columns.items()):
        tell(f"checking {theirs}", 0.4 + 0.08 * done)
        series = raw.get_column(theirs)
        if ours == "time":
            values, found = check_times(series, latest=LAST_TIME if future_allowed else wall_now())
        elif ours == "amount":
            values, found = check_amounts(series, csv_format.decimal_comma)
        elif ours == "label":
            values, found = check_labels(series)
        else:
            values, found = check_ids(series)
        faults += found
        checked.append(values.alias(ours))
    ids = raw.get_column(columns["transaction_id"])
    faults += check_unique(pl.DataFrame(checked), "transaction_id", "label", ids)
    if faults:
        raise DatasetError(_describe(path, raw.height, faults))

    tell("sorting", 0.9)
    frame = (
        pl.DataFrame(checked)
        .select(*TRANSACTION_SCHEMA)
        .cast(
            TRANSACTION_SCHEMA,  # type: ignore[arg-type]
        )
    )
    frame = _with_last_labels(path, frame, note).sort("time", "transaction_id")
    tell("done", 1.0)
    return frame


def _with_last_labels(
    path: Path, frame: pl.DataFrame, note: Callable[[str], object]
) -> pl.DataFrame:
    """One row per payment, with the label of its last row in the file."""
    again = repeated(frame["transaction_id"])
    if not again.any():
        return frame
    last = frame.unique("transaction_id", keep="last", maintain_order=True)
    first = frame.filter(~again).select("transaction_id", first_label="label")
    corrected = (
        last.join(first, on="transaction_id")
        .filter(pl.col("label") != pl.col("first_label"))
        .height
    )
    note(
        f"{path}: rows that repeat an earlier payment: {int(again.sum()):,}. The label of a"
        f" payment's last row counts. Payments whose label that corrects: {corrected:,}."
    )
    return last


def _read(path: Path, csv_format: CsvFormat) -> pl.DataFrame:
    """Read the file unchanged. CSV cells stay text, so that a fault can show the written text."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    if not start:
        raise DatasetError(f"{path}: the file is empty (0 bytes)")
    parquet = start == _PARQUET_MAGIC
    if not parquet and path.suffix.lower() in (".parquet", ".pq"):
        raise DatasetError(
            f"{path}: is named Parquet but does not begin with PAR1: damaged, or another format"
        )
    if not parquet:
        _check_header(path, csv_format.separator, gzipped=start[:2] == b"\x1f\x8b")
    try:
        # Not scan_parquet, which would find a damaged page only later. Without glob, because
        # `[1].csv` is a file and not a pattern.
        if parquet:
            return pl.read_parquet(path, glob=False)
        return _without_blank_end(
            pl.read_csv(path, separator=csv_format.separator, infer_schema=False, glob=False)
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        kind = "Parquet" if parquet else "CSV"
        raise DatasetError(
            f"{path}: cannot be read as {kind}: {str(error).splitlines()[0]}"
        ) from error


def _check_header(path: Path, separator: str, *, gzipped: bool) -> None:
    """Refuse a header with another separator or a repeated name.

    Polars would silently keep one of two columns with the same name.

    Raises:
        DatasetError: The separator is another one, or a name stands there twice.
    """
    try:
        with (gzip.open if gzipped else open)(path, "rt", encoding="utf-8-sig") as lines:
            line = next(csv.reader([lines.readline()], delimiter=separator), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return  # the reader names a file that cannot be read
    likely = (
        max(_SEPARATORS, key=lambda candidate: line[0].count(candidate))
        if len(line) == 1
        else separator
    )
    if likely != separator and likely in line[0]:
        written = shlex.quote(likely) if likely != "\t" else "$'\\t'"
        step = f"{_import_of(path)} --separator {written}"
        raise DatasetError(
            f"{path}: no column is separated by {separator!r}; {likely!r} seems to be the"
            f" separator: {step}"
        )
    doubled = [
        name for name, count in Counter(name.strip() for name in line).items() if name and count > 1
    ]
    if doubled:
        raise DatasetError(
            f"{path}: the header names more than one column {', '.join(map(repr, doubled))}: keep"
            " one of them"
        )


def _import_of(path: Path) -> str:
    """Return the command with options for reading a file. The demo and the backtest have none."""
    return f"dojo data import {shlex.quote(str(path))}"


def _without_blank_end(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame without the blank lines that many editors leave at a file's end."""
    blank = frame.select(
        pl.all_horizontal(pl.all().str.strip_chars().fill_null("") == "")
    ).to_series()
    written = (~blank).arg_true()
    return frame.head(int(written[-1]) + 1 if len(written) else 0)


def _resolve_columns(path: Path, found: list[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return our column -> the file's column, for all of ours.

    Raises:
        DatasetError: A column is missing, doubled or mapped wrongly. The message names it, the
            file's columns, and how to map them.
    """
    problems = [
        f"--map {theirs}={ours}: {ours!r} is no column of ours; those are"
        f" {', '.join(TRANSACTION_SCHEMA)}"
        for theirs, ours in mapping.items()
        if ours not in TRANSACTION_SCHEMA
    ]
    problems += [
        f"--map {theirs}={ours}: the file has no column {theirs!r}"
        for theirs, ours in mapping.items()
        if theirs not in found
    ]

    candidates: dict[str, list[str]] = {ours: [] for ours in TRANSACTION_SCHEMA}
    for theirs, ours in mapping.items():
        if ours in candidates and theirs in found:
            candidates[ours].append(theirs)
    mapped = {ours for ours, names in candidates.items() if names}
    for theirs in found:
        recognised = _RECOGNISED.get(theirs.strip().lower())
        if recognised is not None and recognised not in mapped and theirs not in mapping:
            candidates[recognised].append(theirs)

    problems += [
        f"{ours}: more than one column for it: {', '.join(names)}"
        for ours, names in candidates.items()
        if len(names) > 1
    ]
    missing = [ours for ours, names in candidates.items() if not names]
    if missing:
        unused = [name for name in found if all(name not in names for names in candidates.values())]
        pair = f"{unused[0] if unused else 'their_column'}={missing[0]}"
        example = f"{_import_of(path)} --map {shlex.quote(pair)}"
        problems.append(
            f"missing columns: {', '.join(missing)}; the file has {', '.join(found)}. Name them"
            f" like this: {example}"
        )
    if problems:
        raise DatasetError("\n  ".join([f"{path}: the columns do not fit", *problems]))
    return {ours: names[0] for ours, names in candidates.items()}


def _describe(path: Path, rows: int, faults: list[Fault]) -> str:
    head = f"{path}: {len(faults)} {'fault' if len(faults) == 1 else 'faults'} in {rows:,} rows"
    return "\n  ".join([head, *map(str, faults)])
