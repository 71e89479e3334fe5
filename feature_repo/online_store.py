"""Feast's online store on our own Redis layout (`online_layout.py`).

Feast keeps the definitions, and its SDK reads and writes through this store. Rows are written by
`online_rows.py`, which the streamer uses too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from feast.utils import make_tzaware
from pydantic import Field
from redis import Redis

from dojo.core.connections import connect_redis
from dojo.core.settings import load_settings
from feature_repo.catalog import VIEWS
from feature_repo.online_layout import (
    MalformedValueError,
    ViewLayout,
    entity_key,
    event_moment,
    layout_of,
)
from feature_repo.online_rows import ROWS_AT_ONCE, TIMEOUT, OnlineRow, OnlineRows

T = TypeVar("T")

# Feast's arguments and results for one row. The key's last member is the row's creation time, which
# we do not store.
WrittenRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
ReadRow = tuple[datetime | None, dict[str, Value] | None]


class EntityHashOnlineStoreConfig(FeastConfigBaseModel):
    """The store's config. Feast finds it by the store's name plus `Config`."""

    type: str = "feature_repo.online_store.EntityHashOnlineStore"
    url: str = Field(default_factory=lambda: load_settings().online_store)


class EntityHashOnlineStore(OnlineStore):
    """Keeps views of the catalogue with one string key and float64 values.

    Reads and writes raise redis.RedisError.
    """

    _client: Redis | None = None

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[WrittenRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        names = layout_of(table.name).features
        OnlineRows(self._redis(config)).write(
            table.name,
            (
                OnlineRow(
                    key.entity_values[0].string_val,
                    make_tzaware(event_time),
                    [_number(values[name]) for name in names],
                )
                for key, values, event_time, _ in data
            ),
            progress,
        )

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Return rows. Feast answers NOT_FOUND for a row written by other definitions."""
        layout = layout_of(table.name)
        with self._redis(config).pipeline(transaction=False) as pipe:
            for key in entity_keys:
                pipe.hget(_redis_key(table, key), layout.field)  # type: ignore[arg-type]
            return [_read(layout, packed) for packed in pipe.execute()]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Delete the rows of removed views. Redis drops a hash with its last field."""
        for table in tables_to_delete:
            client = self._redis(config)
            for keys in _blocks(
                list(client.scan_iter(match=entity_key(table.entities[0], "*"), count=ROWS_AT_ONCE))
            ):
                with client.pipeline(transaction=False) as pipe:
                    for key in keys:
                        pipe.hdel(key, table.name)
                    pipe.execute()

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        self.update(config, tables, [], entities, [], partial=False)

    def _redis(self, config: RepoConfig) -> Redis:
        self._client = self._client or connect_redis(config.online_store.url, TIMEOUT)
        return self._client


def _blocks(items: list[T]) -> Iterator[list[T]]:
    return (items[start : start + ROWS_AT_ONCE] for start in range(0, len(items), ROWS_AT_ONCE))


def _redis_key(table: FeatureView, key: EntityKey) -> bytes:
    return entity_key(VIEWS[table.name].entity, key.entity_values[0].string_val)


def _number(value: Value) -> float | None:
    return value.double_val if value.HasField("double_val") else None


def _read(layout: ViewLayout, packed: bytes | None) -> ReadRow:
    if packed is None:
        return None, None
    try:
        row = layout.unpack(packed)
    except MalformedValueError:
        return None, None
    values = [Value() if number is None else Value(double_val=number) for number in row.values]
    return event_moment(row), dict(zip(layout.features, values, strict=True))
