"""services/gateway/features/redis_client.py against a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from services.gateway.features.redis_client import RedisClient, RedisUnavailableError, command
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration


def with_client(url: str, use: Callable[[RedisClient], Awaitable[None]]) -> None:
    async def run() -> None:
        client = RedisClient(url)
        connection = asyncio.create_task(client.run())
        async with asyncio.timeout(10):
            while not client.connected:
                await asyncio.sleep(0.01)
            await use(client)
        connection.cancel()

    asyncio.run(run())


def test_a_reply_after_its_deadline_is_dropped_and_the_connection_stays_in_step(
    redis_server: RedisServer,
) -> None:
    async def use(client: RedisClient) -> None:
        started = time.monotonic()
        late = client.call(command(b"DEBUG", b"SLEEP", b"0.3"), 1, 0.05)
        after = [client.call(command(b"ECHO", b"%d" % n), 1, 5.0) for n in range(50)]
        with pytest.raises(RedisUnavailableError, match="50 ms"):
            await late
        assert time.monotonic() - started < 0.25
        assert [(await call)[0] for call in after] == [b"%d" % n for n in range(50)]

    with_client(redis_server.url, use)


def test_each_call_has_its_own_deadline(redis_server: RedisServer) -> None:
    async def use(client: RedisClient) -> None:
        started = time.monotonic()
        blocked = client.call(command(b"DEBUG", b"SLEEP", b"0.4"), 1, 5.0)
        waiting = {
            timeout: client.call(command(b"PING"), 1, timeout) for timeout in (0.2, 0.05, 5.0, 0.1)
        }
        failed = []
        for timeout in (0.05, 0.1, 0.2):
            with pytest.raises(RedisUnavailableError, match=f"within {timeout * 1000:.0f} ms"):
                await waiting[timeout]
            failed.append(time.monotonic() - started)
        assert all(
            at >= timeout - 0.01 for at, timeout in zip(failed, (0.05, 0.1, 0.2), strict=True)
        )
        assert not waiting[5.0].done()
        assert (await blocked, await waiting[5.0]) == ([b"OK"], [b"PONG"])
        # No call was late at the last alarm. A later call sets it again.
        client.call(command(b"DEBUG", b"SLEEP", b"0.2"), 1, 5.0)
        with pytest.raises(RedisUnavailableError, match="within 20 ms"):
            await client.call(command(b"PING"), 1, 0.02)

    with_client(redis_server.url, use)


def test_a_refused_command_is_one_reply_of_its_call(redis_server: RedisServer) -> None:
    async def use(client: RedisClient) -> None:
        payload = command(b"SET", b"k", b"v") + command(b"INCR", b"k") + command(b"GET", b"k")
        ok, refused, value = await client.call(payload, 3, 5.0)
        assert isinstance(refused, RedisUnavailableError)
        assert (ok, value) == (b"OK", b"v")

    with_client(redis_server.url, use)


def test_it_selects_the_urls_database_and_comes_back_after_a_kill(
    redis_server: RedisServer,
) -> None:
    async def use(client: RedisClient) -> None:
        await client.call(command(b"SET", b"where", b"three"), 1, 5.0)
        redis_server.kill()
        with pytest.raises(RedisUnavailableError):
            await client.call(command(b"PING"), 1, 5.0)
        await asyncio.to_thread(redis_server.start)
        while True:
            try:
                assert await client.call(command(b"GET", b"where"), 1, 1.0) == [b"three"]
                break
            except RedisUnavailableError:
                await asyncio.sleep(0.02)
        assert await client.call(command(b"SELECT", b"0") + command(b"GET", b"where"), 2, 1.0) == [
            b"OK",
            None,
        ]

    with_client(redis_server.url.replace("/0", "/3"), use)
