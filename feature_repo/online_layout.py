"""The layout of feature values in Redis.

`online_store.py` writes it for Feast, and the gateway reads it without Feast.

    key      dojo:features:<entity>:<key>      a hash per entity, such as dojo:features:customer:c42
    field    <view>                            one field per feature view
    value    MessagePack [schema, event time, [value, ...]]

Values stand in the catalogue's order, with nil for a missing one. The event time is the world time
at which they became true, in microseconds since 1970. The schema is a checksum of the view's
feature names in order. A reader refuses a row of another schema. So a changed catalogue never gives
one feature another feature's value.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import msgspec

from feature_repo.catalog import VIEWS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MalformedValueError(ValueError):
    """Bytes in the online store that the catalogue's present views cannot have written."""


class StoredRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One entity's row of one view.

    Attributes:
        schema: Checksum of the writer's feature names.
        event_time: Microseconds since 1970, world time.
        values: Values in the catalogue's order, None where missing.
    """

    schema: int
    event_time: int
    values: tuple[float | None, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredRow).decode


class ViewLayout:
    """Packs and unpacks the rows of one view."""

    def __init__(self, view: str, features: Sequence[str]) -> None:
        self.field = view.encode()
        self.features = tuple(features)
        self.no_values = (None,) * len(self.features)
        self.schema = zlib.crc32("\n".join(features).encode())

    def pack(self, event_time: datetime, values: Sequence[float | None]) -> bytes:
        return _encode(
            StoredRow(self.schema, (event_time - EPOCH) // timedelta(microseconds=1), tuple(values))
        )

    def unpack(self, packed: bytes) -> StoredRow:
        """Return the row in the bytes.

        Raises:
            MalformedValueError: The bytes are no row, or a row of another schema.
        """
        try:
            row = _decode(packed)
        except msgspec.DecodeError as error:
            raise MalformedValueError(f"{self.field.decode()}: {error}") from error
        if row.schema != self.schema or len(row.values) != len(self.features):
            raise MalformedValueError(
                f"{self.field.decode()}: the row was written for other features"
            )
        return row


@cache
def layout_of(view: str) -> ViewLayout:
    """Return the layout of a view of the catalogue.

    Raises:
        KeyError: There is no such view.
    """
    return ViewLayout(view, VIEWS[view].names)


def entity_key(entity: str, key: str) -> bytes:
    """Return the Redis key of one entity's hash."""
    return f"dojo:features:{entity}:{key}".encode()


def event_moment(row: StoredRow) -> datetime:
    return EPOCH + timedelta(microseconds=row.event_time)


def describe_entity(fields: Mapping[bytes, bytes]) -> dict[str, dict[str, object]]:
    """Return an entity's whole hash for a person, view -> row.

    A row has its event time and its values by feature, or its fault.
    """
    described: dict[str, dict[str, object]] = {}
    for field, packed in sorted(fields.items()):
        view = field.decode(errors="replace")
        if view not in VIEWS:
            described[view] = {"fault": "no such view in the catalogue"}
            continue
        layout = layout_of(view)
        try:
            row = layout.unpack(packed)
        except MalformedValueError as error:
            described[view] = {"fault": str(error)}
        else:
            features = dict(zip(layout.features, row.values, strict=True))
            described[view] = {"event_time": event_moment(row).isoformat(), "features": features}
    return described
