"""Checks of single columns. Each converts the values to our type and reports every fault.

A check takes a column as it was read: text from CSV, any type from Parquet. It returns the
converted values and the column's faults. A value is null where conversion failed. The checks are
vectorised, so 870,000 rows take well under a second a column.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from dojo.core.events.columns import UTC_MICROSECONDS
from dojo.shop.events import MAX_EURO

# ISO 8601 in the spellings of common exports, tried in this order. Any other text is a fault and
# never a guess (04/01 or 01/04?).
_TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",  # with an offset: 2018-04-01 00:00:31+02:00
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)


# Beyond this, different whole numbers can be the same float.
LARGEST_EXACT_FLOAT = 2.0**53

# Texts that programs write for a missing value. They are no ids.
_MISSING = ("nan", "none", "null", "n/a", "#n/a", "<na>", "nat", "undefined")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a column.

    Attributes:
        column: The column.
        reason: What is wrong.
        rows: Number of rows with the fault.
        row: Number of the first such row, counted from 1.
        example: The first row's value.
    """

    column: str
    reason: str
    rows: int
    row: int
    example: str

    def __str__(self) -> str:
        return (
            f"{self.column}: {self.reason} in {self.rows:,} {'row' if self.rows == 1 else 'rows'},"
            f" first in row {self.row:,}: {self.example}"
        )


Checked = tuple[pl.Series, tuple[Fault, ...]]


def check_ids(series: pl.Series) -> Checked:
    """Check identifiers, text or whole numbers, and return them as text.

    Whole floats are accepted. Readers without a missing integer turn 17 into 17.0, as a number or
    as text.
    """
    if series.dtype == pl.String:
        values = series.str.strip_chars()
        values = values.set(values == "", None).str.replace(r"^(\d+)\.0+$", "${1}")
        return values, (
            *_nulls(series, values),
            *_fault(
                series,
                values.str.to_lowercase().is_in(_MISSING),
                "stands for a missing value and is no id",
            ),
            *_fault(
                series,
                values.str.contains(r"^\d([.,]\d+)?[eE]\+\d+$"),
                "looks like a long number that a spreadsheet has rounded, so that different ids"
                " became one",
            ),
        )
    if series.dtype.is_integer():
        return series.cast(pl.String), _nulls(series, series)
    if series.dtype.is_float():
        whole = series.is_finite() & (series == series.floor())
        values = series.set(~whole.fill_null(False), None).cast(pl.Int64, strict=False)
        return values.cast(pl.String), (
            *_nulls(series, series),
            *_fault(series, _lost(series, values), "not a whole number"),
            *_fault(
                series,
                series.is_finite() & (series.abs() >= LARGEST_EXACT_FLOAT),
                "too large to be exact as a float, so that different ids became one",
            ),
        )
    if isinstance(series.dtype, pl.Categorical | pl.Enum):
        return check_ids(series.cast(pl.String))
    return _wrong_type(series, "text or whole numbers", pl.String)


def check_unique(rows: pl.DataFrame, key: str, label: str, series: pl.Series) -> tuple[Fault, ...]:
    """Return the rows that repeat an earlier row's id for another event.

    A row that differs only in its label is a correction.

    Args:
        rows: The converted columns.
        series: The ids as they were read.
    """
    again = repeated(rows[key])
    if not again.any():
        return ()
    same = [
        pl.col(name).eq_missing(pl.col(name).first().over(key))
        for name in rows.columns
        if name not in (key, label)
    ]
    return _fault(
        series,
        again & ~rows.select(pl.all_horizontal(same)).to_series(),
        "repeats an earlier row's id",
    )


def repeated(ids: pl.Series) -> pl.Series:
    """Return which rows have an id that an earlier row already has."""
    return ~ids.is_first_distinct() & ids.is_not_null()


def check_amounts(series: pl.Series, decimal_comma: bool = False) -> Checked:
    """Check amounts in the shop's currency unit, finite and 0 or more.

    With `decimal_comma` they are written like 12,50.
    """
    if not (series.dtype == pl.String or series.dtype.is_numeric()):
        return _wrong_type(series, "numbers", pl.Float64)
    text = series.str.strip_chars() if series.dtype == pl.String else series
    if decimal_comma and text.dtype == pl.String:
        values = text.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
        # 1.000 could be one or a thousand.
        values = values.set(text.str.contains(".", literal=True).fill_null(False), None)
    else:
        values = text.cast(pl.Float64, strict=False)
    lost = _lost(text, values)
    commas = (
        lost & text.str.contains(r"^\d+,\d+$")
        if text.dtype == pl.String and not decimal_comma
        else lost & False
    )
    return values, (
        *_nulls(series, text),
        *_fault(
            series, commas, "not a number, unless the comma is a decimal one (--decimal-comma)"
        ),
        *_fault(series, lost & ~commas, "not a number"),
        *_fault(series, ~values.is_finite(), "not finite"),
        *_fault(series, values.is_finite() & (values < 0), "negative"),
        *_fault(series, values.is_finite() & (values > MAX_EURO), f"above {MAX_EURO:g}"),
    )


def check_labels(series: pl.Series) -> Checked:
    """Check labels. 1 is fraud, 0 is not. Booleans count."""
    if not (series.dtype in (pl.String, pl.Boolean) or series.dtype.is_numeric()):
        return _wrong_type(series, "0 or 1", pl.Int8)
    text = series.str.strip_chars() if series.dtype == pl.String else series
    numbers = text.cast(pl.Float64, strict=False)
    known = numbers.is_in([0.0, 1.0]).fill_null(False)
    values = numbers.set(~known, None).cast(pl.Int8)
    return values, (*_nulls(series, text), *_fault(series, _lost(text, values), "neither 0 nor 1"))


def check_times(series: pl.Series, latest: datetime) -> Checked:
    """Check times and return them as UTC with microseconds.

    A time without a zone is taken as UTC. A time later than `latest` is a fault.
    """
    if series.dtype == pl.String:
        values = _parse_times(series.str.strip_chars())
    elif isinstance(series.dtype, pl.Datetime):
        zoned = (
            series.dt.replace_time_zone("UTC")
            if series.dtype.time_zone is None
            else series.dt.convert_time_zone("UTC")
        )
        values = zoned.cast(UTC_MICROSECONDS)
    elif series.dtype == pl.Date:
        values = series.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    else:
        return _wrong_type(
            series,
            "times such as 2018-04-01 12:30:00 (a bare number's unit cannot be known)",
            UTC_MICROSECONDS,
        )
    return values, (
        *_nulls(series, series),
        *_fault(
            series,
            _lost(series, values),
            "not a time such as 2018-04-01 12:30:00 or 2018-04-01T12:30:00+02:00",
        ),
        *_fault(series, values > latest, f"in the future (now is {latest:%Y-%m-%d %H:%M} UTC)"),
    )


def _parse_times(text: pl.Series) -> pl.Series:
    """Return parsed times, null where no format fits.

    Each format is tried on the rows still open. Files hardly ever mix formats, so one pass
    suffices.
    """
    zoned = text.str.replace(r"(?i)\s*(Z|UTC|GMT)$", "+00:00")  # first, because there is a T in UTC
    spaced = zoned.str.replace("T", " ", literal=True).to_frame("text")
    values = pl.Series("time", [None], dtype=UTC_MICROSECONDS).new_from_index(0, len(text))
    for format_ in _TIME_FORMATS:
        open_rows = (values.is_null() & spaced["text"].is_not_null()).arg_true()
        if open_rows.is_empty():
            break
        parsed = (
            spaced["text"]
            .gather(open_rows)
            .str.to_datetime(
                format_,
                time_unit="us",
                time_zone="UTC" if "z" not in format_ else None,
                strict=False,
            )
        )
        values = values.scatter(open_rows, parsed.cast(UTC_MICROSECONDS))
    return values


def _nulls(series: pl.Series, values: pl.Series) -> tuple[Fault, ...]:
    """Report missing values, including empty CSV cells.

    The example shows the text found instead.
    """
    empty = values.is_null() | (values == "") if values.dtype == pl.String else values.is_null()
    return _fault(series, empty, "missing")


def _lost(text: pl.Series, values: pl.Series) -> pl.Series:
    """Return a mask of the rows that had a value before conversion and have none after it."""
    present = text.is_not_null() & (text != "") if text.dtype == pl.String else text.is_not_null()
    return present & values.is_null()


def _fault(series: pl.Series, bad: pl.Series, reason: str) -> tuple[Fault, ...]:
    rows = bad.fill_null(False).arg_true()
    if rows.is_empty():
        return ()
    first = int(rows[0])
    value = series[first]
    example = "(empty)" if value is None else repr(value) if isinstance(value, str) else str(value)
    return (Fault(series.name, reason, len(rows), first + 1, example),)


def _wrong_type(series: pl.Series, wanted: str, dtype: pl.DataType | type[pl.DataType]) -> Checked:
    """Report a column whose type does not fit. Every row is at fault."""
    nothing = pl.Series(series.name, [None], dtype=dtype).new_from_index(0, len(series))
    every = pl.Series([True]).new_from_index(0, len(series))
    return nothing, _fault(series, every, f"expected {wanted}, found the type {series.dtype}")
