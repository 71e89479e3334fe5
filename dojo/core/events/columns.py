"""Events as rows. The columns in the lake follow from the event's struct.

    str, Literal            String
    float, bool             Float64, Boolean
    int                     Int64, or Int8 where the field's bounds fit it
    datetime                Datetime, microseconds UTC
    tuple of plain values   List
    dict[str, float]        two lists, names and values: the order is the model's input order
    anything else           String that holds JSON

`schema_version` describes the message and has no column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, cast

import msgspec
import polars as pl
from msgspec import inspect

from dojo.core.events.streams import EVENT_TYPES
from dojo.core.events.types import Event

UTC_MICROSECONDS = pl.Datetime("us", "UTC")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PLAIN: dict[type[inspect.Type], pl.DataType] = {
    inspect.StrType: pl.String(),
    inspect.LiteralType: pl.String(),
    inspect.FloatType: pl.Float64(),
    inspect.BoolType: pl.Boolean(),
    inspect.IntType: pl.Int64(),
    inspect.DateTimeType: UTC_MICROSECONDS,
}


def frame_of(stream: str, events: Sequence[Event]) -> pl.DataFrame:
    """Return one row per event."""
    columns = _columns(EVENT_TYPES[stream])
    return pl.DataFrame(
        [
            _series(name, dtype, [read(event) for event in events])
            for name, (dtype, read) in columns.items()
        ]
    )


def schema_of(event_type: type[Event]) -> dict[str, pl.DataType]:
    """Return the columns' names and types, in order."""
    return {name: dtype for name, (dtype, _) in _columns(event_type).items()}


@cache
def _columns(event_type: type[Event]) -> Mapping[str, tuple[pl.DataType, Callable[[Any], Any]]]:
    """Return each column's type, and the function that reads its value from an event."""
    columns: dict[str, tuple[pl.DataType, Callable[[Any], Any]]] = {}
    for field in cast("inspect.StructType", inspect.type_info(event_type)).fields:
        read = attrgetter(field.name)
        match _without_null(field.type):
            case _ if field.name == "schema_version":
                continue
            case inspect.DictType(value_type=inspect.FloatType()):
                names = f"{field.name.removesuffix('s')}_names"
                columns[names] = pl.List(pl.String), _converted(read, list)
                columns[field.name] = (
                    pl.List(pl.Float64),
                    _converted(read, lambda vector: list(vector.values())),
                )
            case inspect.VarTupleType(item_type=item) if type(item) in _PLAIN:
                columns[field.name] = pl.List(_PLAIN[type(item)]), _converted(read, list)
            case inspect.IntType(ge=int(), le=int(most)) if most <= 127:
                columns[field.name] = pl.Int8(), read
            case kind if type(kind) in _PLAIN:
                columns[field.name] = _PLAIN[type(kind)], read
            case _:
                columns[field.name] = (
                    pl.String(),
                    _converted(read, lambda value: msgspec.json.encode(value).decode()),
                )
    return columns


def _converted(read: Callable[[Any], Any], convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda event: convert(read(event))


def _without_null(kind: inspect.Type) -> inspect.Type:
    """Return X of `X | None`. Every column may hold nulls."""
    kinds = [
        each for each in getattr(kind, "types", (kind,)) if not isinstance(each, inspect.NoneType)
    ]
    return kinds[0] if len(kinds) == 1 else kind


def _series(name: str, dtype: pl.DataType, values: Sequence[Any]) -> pl.Series:
    if dtype == UTC_MICROSECONDS:
        # As integers, because Polars refuses a column whose values have different UTC offsets.
        whole = [None if moment is None else (moment - _EPOCH) // _MICROSECOND for moment in values]
        return pl.Series(name, whole, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype=dtype, strict=True)
