"""A streaming view is one entry of the catalogue.

The streamer's rows in Redis equal the offline store's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import RedisEventLog
from dojo.shop.events import TRANSACTIONS, Transaction
from feature_repo import catalog
from feature_repo.online_layout import entity_key, layout_of
from feature_repo.online_rows import OnlineRows
from feature_repo.shop.payments import PAYMENTS
from feature_repo.views import StreamingView
from pipelines.features.offline import view_rows
from services.streamer.metrics import StreamerMetrics
from services.streamer.streamer import GROUP, Streamer
from services.streamer.windows import RedisWindows
from tests.support.further_features import PULSE
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 1, tzinfo=UTC)
NO_TIME = timedelta(milliseconds=1)


def made(count: int, seed: int) -> list[Transaction]:
    """Make payments of four days by three customers at two shops, with ties, cents and silences."""
    chance = random.Random(seed)
    moments = sorted(
        START + timedelta(seconds=chance.choice([60, 600, 3600]) * chance.randrange(96))
        for _ in range(count)
    )
    return [
        Transaction(
            event_id=f"tx-{number}",
            world_time=moment,
            wall_time=moment,
            transaction_id=str(number),
            customer_id=chance.choice("abc"),
            merchant_id=chance.choice("xy"),
            amount=chance.randrange(30_000) / 100,
        )
        for number, moment in enumerate(moments)
    ]


def offline(
    view: StreamingView, events: Sequence[Transaction]
) -> dict[tuple[str, datetime], dict[str, float]]:
    """Return the offline store's rows by key and time of the event."""
    frame = pl.DataFrame(
        [{column: getattr(event, column) for column in PAYMENTS.columns} for event in events]
    )
    days = [(START + timedelta(days=offset)).date() for offset in range(5)]
    found = view_rows(view, {PAYMENTS: frame}, days).to_dicts()
    microsecond = timedelta(microseconds=1)
    return {(row.pop(view.key), row.pop("event_timestamp") - microsecond): row for row in found}


def online(redis: Redis, view: StreamingView, key: str) -> dict[str, float | None]:
    """Return an entity's features in Redis."""
    layout = layout_of(view.name)
    packed = redis.hget(entity_key(view.entity, key).decode(), view.name)
    assert isinstance(packed, bytes)
    return dict(zip(layout.features, layout.unpack(packed).values, strict=True))


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> list[StreamingView]:
    monkeypatch.setitem(catalog.VIEWS, PULSE.name, PULSE)
    return catalog.streaming_views()


def streamer(redis: Redis, views: Sequence[StreamingView]) -> tuple[Streamer, RedisEventLog]:
    log = RedisEventLog(redis, 100_000)
    metrics, dead_letters = StreamerMetrics(CollectorRegistry()), DeadLetters(redis, "streamer")
    return (
        Streamer(
            TRANSACTIONS,
            views,
            log,
            dead_letters,
            RedisWindows(redis),
            OnlineRows(redis).write,
            metrics,
            lambda: None,
        ),
        log,
    )


def test_a_further_view_is_one_entry_and_has_the_same_bits_online_and_offline(
    redis_server: RedisServer, views: list[StreamingView]
) -> None:
    redis = Redis.from_url(redis_server.url)
    assert PULSE in views
    one, log = streamer(redis, views)
    events = made(400, seed=1)
    expected = {view.name: offline(view, events) for view in views}
    compared = 0
    for at, event in enumerate(events):
        log.append([event])
        one.next_round(NO_TIME)
        if at + 1 < len(events) and events[at + 1].world_time == event.world_time:
            continue  # a tie is complete only with its last event
        for view in views:
            key = getattr(event, view.key)
            assert online(redis, view, key) == expected[view.name][key, event.world_time], (
                view.name,
                key,
                event,
            )
            compared += 1
    assert compared > 500
    assert log.lag(TRANSACTIONS, GROUP) == 0


def test_late_and_repeated_events_end_in_the_same_bits(
    redis_server: RedisServer, views: list[StreamingView]
) -> None:
    redis = Redis.from_url(redis_server.url)
    one, log = streamer(redis, views)
    events = made(300, seed=2)
    arriving = [*events, *events[50:90]]
    random.Random(3).shuffle(arriving)
    for start in range(0, len(arriving), 11):
        log.append(arriving[start : start + 11])
        one.next_round(NO_TIME)
    for view in views:
        rows = offline(view, events)
        for key in {key for key, _ in rows}:
            latest = max(moment for of, moment in rows if of == key)
            assert online(redis, view, key) == rows[key, latest], (view.name, key)


def test_two_views_of_one_entity_keep_windows_of_their_own_lengths(
    redis_server: RedisServer, views: list[StreamingView]
) -> None:
    redis = Redis.from_url(redis_server.url)
    one, log = streamer(redis, views)
    old, new = made(2, seed=4)
    first = Transaction(**{**_fields(old), "customer_id": "a", "world_time": START})
    last = Transaction(
        **{**_fields(new), "customer_id": "a", "world_time": START + timedelta(hours=30)}
    )
    log.append([first, last])
    one.next_round(NO_TIME)
    assert redis.zcard("dojo:window:customer_activity:a") == 1  # a day back
    assert redis.zcard("dojo:window:customer_pulse:a") == 2  # two days back


def _fields(event: Transaction) -> dict[str, object]:
    return {name: getattr(event, name) for name in event.__struct_fields__}
