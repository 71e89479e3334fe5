"""feature_repo/online_store.py on a real Redis, through Feast.

The tests cover writes, what is kept, and a reader without Feast.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from redis import Redis
from redis.exceptions import RedisError

from feature_repo.catalog import VIEWS
from feature_repo.online_layout import ViewLayout, entity_key, event_moment, layout_of
from feature_repo.online_rows import OnlineRow, OnlineRows
from feature_repo.shop import CUSTOMER_ACTIVITY, CUSTOMER_DAILY
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from feast import FeatureStore

pytestmark = pytest.mark.integration

KEYS = ("1", "customer-0042", "zoë ⛄", "x" * 200)
TIME = datetime(2018, 6, 15, 6, 0, 0, 1, tzinfo=UTC)  # a microsecond past the second
HABITS, ACTIVITY = layout_of(CUSTOMER_DAILY.name), layout_of(CUSTOMER_ACTIVITY.name)


@pytest.fixture
def redis(redis_server: RedisServer) -> Redis:
    return Redis.from_url(redis_server.url)


@pytest.fixture
def store(redis_server: RedisServer, tmp_path: Path) -> FeatureStore:
    return open_at(redis_server.url, tmp_path)


def open_at(url: str, directory: Path) -> FeatureStore:
    from feature_repo.store import open_store

    return open_store(directory / "offline", url, directory / "registry.db")


def write(
    store: FeatureStore, layout: ViewLayout, rows: Sequence[tuple[str, datetime, float | None]]
) -> None:
    """Write (customer, event time, the value of every feature) through Feast."""
    frame = pd.DataFrame(rows, columns=["customer_id", "event_timestamp", "value"])
    values = frame.pop("value").astype("float64")
    store.write_to_online_store(
        layout.field.decode(), frame.assign(**dict.fromkeys(layout.features, values))
    )


def stored(redis: Redis, layout: ViewLayout, key: str) -> tuple[datetime, float | None]:
    """Event time and first value of a customer's row, read without Feast."""
    row = layout.unpack(redis.hget(entity_key("customer", key), layout.field))
    return event_moment(row), row.values[0]


def asked(store: FeatureStore, layout: ViewLayout, *keys: str) -> dict[str, list[Any]]:
    features = [f"{layout.field.decode()}:{name}" for name in layout.features]
    answer: dict[str, list[Any]] = store.get_online_features(
        features, [{"customer_id": key} for key in keys]
    ).to_dict()
    return answer


def test_a_reader_without_feast_sees_what_feast_sees(store: FeatureStore, redis: Redis) -> None:
    values = {name: [0.0, 1.5, -2.25e300, 5e-324] for name in HABITS.features}
    values[HABITS.features[1]] = [None, 7.0, None, 9.0]
    rows = pd.DataFrame(
        {"customer_id": KEYS, "event_timestamp": [pd.Timestamp(TIME)] * 4, **values}
    )
    store.write_to_online_store(
        CUSTOMER_DAILY.name, rows.astype(dict.fromkeys(HABITS.features, "float64"))
    )
    write(store, ACTIVITY, [(KEYS[0], TIME + timedelta(days=1), 3.0)])

    feasts = asked(store, HABITS, *KEYS)
    for at, key in enumerate(KEYS):
        row = HABITS.unpack(redis.hget(entity_key("customer", key), HABITS.field))
        assert list(row.values) == [values[name][at] for name in HABITS.features]
        assert list(row.values) == [feasts[name][at] for name in HABITS.features]
        assert event_moment(row) == TIME
    # All views of an entity share its hash. A view without a row has no field.
    assert stored(redis, ACTIVITY, KEYS[0]) == (TIME + timedelta(days=1), 3.0)
    assert redis.hkeys(entity_key("customer", KEYS[1])) == [HABITS.field]
    assert asked(store, ACTIVITY, KEYS[1], "never seen")[ACTIVITY.features[0]] == [None, None]


def test_feasts_push_stores_the_bytes_that_the_streamer_writes(
    store: FeatureStore, redis: Redis
) -> None:
    from feast.data_source import PushMode

    from feature_repo.definitions import push_source

    values = [float(at) for at, _ in enumerate(ACTIVITY.features)]
    row = {"customer_id": "pushed", **dict(zip(ACTIVITY.features, values, strict=True))}
    frame = pd.DataFrame([{**row, "event_timestamp": pd.Timestamp(TIME)}])
    store.push(push_source(CUSTOMER_ACTIVITY.name), frame, to=PushMode.ONLINE)
    OnlineRows(redis).write(CUSTOMER_ACTIVITY.name, [OnlineRow("written", TIME, values)])
    pushed, written = (
        redis.hget(entity_key("customer", key), ACTIVITY.field) for key in ("pushed", "written")
    )
    assert pushed == written == ACTIVITY.pack(TIME, values)


def test_a_row_that_is_not_newer_changes_nothing(store: FeatureStore, redis: Redis) -> None:
    second = timedelta(seconds=1)
    write(
        store, ACTIVITY, [("a", TIME, 1.0), ("a", TIME + second, 2.0), ("a", TIME - second, 3.0)]
    )  # in one batch
    assert stored(redis, ACTIVITY, "a") == (TIME + second, 2.0)
    write(store, ACTIVITY, [("a", TIME, 4.0), ("a", TIME + second, 5.0), ("b", TIME, 6.0)])
    assert stored(redis, ACTIVITY, "a") == (TIME + second, 2.0)
    assert stored(redis, ACTIVITY, "b") == (TIME, 6.0)
    newer = TIME + second + timedelta(microseconds=1)
    write(store, ACTIVITY, [("a", newer, 7.0)])
    assert stored(redis, ACTIVITY, "a") == (newer, 7.0)


def test_of_writers_at_the_same_time_the_newest_row_wins(store: FeatureStore, redis: Redis) -> None:
    """Let four writers write at once, as the streamer and a materialisation do to one view."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    from feature_repo.online_store import EntityHashOnlineStore

    customers, rounds, writers = [f"c{n}" for n in range(20)], 40, 4
    table = store.get_feature_view(CUSTOMER_ACTIVITY.name)
    keys = [
        EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=customer)])
        for customer in customers
    ]
    after_rounds: list[set[float | None]] = []
    all_written = threading.Barrier(
        writers,
        action=lambda: after_rounds.append(
            {stored(redis, ACTIVITY, customer)[1] for customer in customers}
        ),
    )

    def write_rounds(writer: int) -> None:
        online = EntityHashOnlineStore()  # with a connection of its own
        for number in range(writer, rounds * writers, writers):
            values = dict.fromkeys(ACTIVITY.features, Value(double_val=float(number)))
            moment = TIME + timedelta(microseconds=number)
            online.online_write_batch(
                store.config, table, [(key, values, moment, None) for key in keys], None
            )
            all_written.wait(20)

    threads = [threading.Thread(target=write_rounds, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert after_rounds == [
        {float(newest)} for newest in range(writers - 1, rounds * writers, writers)
    ]


def test_after_a_change_of_the_catalogue_old_rows_are_missing_until_they_are_written_again(
    store: FeatureStore, redis: Redis
) -> None:
    before = ViewLayout(CUSTOMER_DAILY.name, HABITS.features[::-1])
    for key in ("same time", "later"):
        redis.hset(
            entity_key("customer", key),
            CUSTOMER_DAILY.name,
            before.pack(TIME, [9.0] * len(before.features)),
        )
    assert asked(store, HABITS, "same time")[HABITS.features[0]] == [None]
    write(
        store,
        HABITS,
        [("same time", TIME - timedelta(hours=1), 1.0), ("later", TIME + timedelta(hours=1), 3.0)],
    )
    assert asked(store, HABITS, "same time", "later")[HABITS.features[0]] == [None, 3.0]
    write(store, HABITS, [("same time", TIME, 2.0)])
    assert asked(store, HABITS, "same time", "later")[HABITS.features[0]] == [2.0, 3.0]


@pytest.mark.parametrize(
    "unreadable", [b"", b"\xc1", b"\x05", b"\x93\x01", b"\x91\x01", b"\x93\x01\xc0\x90"]
)
def test_an_unreadable_row_is_missing_and_gives_way(
    unreadable: bytes, store: FeatureStore, redis: Redis
) -> None:
    redis.hset(entity_key("customer", "a"), CUSTOMER_DAILY.name, unreadable)
    assert asked(store, HABITS, "a")[HABITS.features[0]] == [None]
    write(store, HABITS, [("a", TIME, 1.0)])
    assert stored(redis, HABITS, "a") == (TIME, 1.0)


def test_the_rows_of_a_view_that_is_gone_are_deleted_and_no_others(
    store: FeatureStore, redis: Redis
) -> None:
    many = [f"c{n}" for n in range(450)]
    write(store, HABITS, [(key, TIME, 1.0) for key in many])
    write(store, ACTIVITY, [("c1", TIME, 2.0)])
    redis.hset("dojo:features:freshness", "customer_daily", "noted")
    store.apply([], objects_to_delete=[store.get_feature_view(CUSTOMER_DAILY.name)], partial=False)
    assert {*redis.scan_iter()} == {b"dojo:features:freshness", entity_key("customer", "c1")}
    assert redis.hkeys(entity_key("customer", "c1")) == [ACTIVITY.field]
    store.teardown()
    assert {*redis.scan_iter()} == {b"dojo:features:freshness"}


def test_a_large_batch_is_written_whole_and_its_progress_told(
    store: FeatureStore, redis: Redis
) -> None:
    from feature_repo.online_store import ROWS_AT_ONCE

    many = [f"c{n}" for n in range(2 * ROWS_AT_ONCE + 1)]
    write(store, HABITS, [(key, TIME, float(number)) for number, key in enumerate(many)])
    assert [stored(redis, HABITS, key)[1] for key in many] == [
        float(number) for number in range(len(many))
    ]


def test_a_hanging_redis_costs_a_bounded_time(
    store: FeatureStore, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_repo.online_store.TIMEOUT", timedelta(seconds=0.2))
    redis_server.signal(signal.SIGSTOP)
    with pytest.raises(RedisError):
        write(store, HABITS, [("a", TIME, 1.0)])
    with pytest.raises(RedisError):
        asked(store, HABITS, "a")


def test_a_password_may_have_any_character(
    redis_server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    redis.config_set("requirepass", "s,x=w/d%")
    store = open_at(redis_server.url.replace("redis://", "redis://:s%2Cx%3Dw%2Fd%25@"), tmp_path)
    write(store, HABITS, [("a", TIME, 1.0)])
    assert asked(store, HABITS, "a")[HABITS.features[0]] == [1.0]


def test_every_view_of_the_catalogue_is_written_in_the_catalogues_order(
    store: FeatureStore,
) -> None:
    for view in VIEWS.values():
        assert [field.name for field in store.get_feature_view(view.name).features] == list(
            layout_of(view.name).features
        )
