"""The gateway's clock, which never waits for Redis, against a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from dojo.core.connections import connect_redis
from dojo.core.state.clock import CLOCK_KEY, Anchor, RedisWorldClock, wall_now
from services.gateway.clock import GatewayClock
from services.gateway.features.redis_client import RedisClient
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

WORLD = datetime(2018, 6, 15, 12, tzinfo=UTC)
HOUR, NIGHT = timedelta(hours=1), timedelta(hours=15)
STOPPED = WORLD + timedelta(minutes=5)  # 60 world seconds a second, for five


def with_clock(
    redis: RedisServer, remembered: Path, use: Callable[[GatewayClock], Awaitable[None]]
) -> None:
    async def run() -> None:
        client = RedisClient(redis.url)
        connection = asyncio.create_task(client.run())
        async with asyncio.timeout(10):
            while not client.connected:
                await asyncio.sleep(0.01)
            await use(GatewayClock(client, remembered))
        connection.cancel()

    asyncio.run(run())


def stored(redis: RedisServer, anchor: Anchor) -> None:
    connect_redis(redis.url).set(CLOCK_KEY, msgspec.json.encode(anchor))


def test_a_world_that_stopped_in_the_night_stands_where_it_stopped(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    stored(redis_server, Anchor(WORLD, wall_now() - NIGHT, speed=60, runs_on=5))

    async def use(clock: GatewayClock) -> None:
        await clock.refresh()
        assert clock.now() == STOPPED

    with_clock(redis_server, tmp_path / "clock.json", use)


def test_a_gateway_that_starts_without_redis_stands_where_the_last_one_was(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    anchor = Anchor(WORLD, wall_now() - NIGHT, speed=60, runs_on=5)
    (tmp_path / "clock.json").write_bytes(msgspec.json.encode(anchor))
    clock = GatewayClock(RedisClient(redis_server.url), tmp_path / "clock.json")
    assert clock.is_set
    assert clock.now() == STOPPED


def test_its_time_does_not_go_back_with_the_machines(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    writer = RedisWorldClock(connect_redis(redis_server.url))
    writer.set(WORLD, speed=60, runs_on=timedelta(seconds=5))

    async def use(clock: GatewayClock) -> None:
        await clock.refresh()
        before = clock.now()
        renewed = writer.anchor()
        # Written by a simulator whose clock says an hour more than it will say from now on.
        stored(redis_server, msgspec.structs.replace(renewed, wall=renewed.wall + HOUR))
        await clock.refresh()
        assert before <= clock.now() <= before + timedelta(minutes=5)
        assert (
            msgspec.json.decode((tmp_path / "clock.json").read_bytes(), type=Anchor).wall
            == renewed.wall + HOUR
        )

    with_clock(redis_server, tmp_path / "clock.json", use)
