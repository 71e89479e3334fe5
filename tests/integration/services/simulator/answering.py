"""A stand-in for the gateway beside a world in another process, which is killed and goes on."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from aiohttp import web
from redis import Redis

from dojo.core.settings import Settings
from dojo.core.state.clock import RedisWorldClock
from tests.integration.services.simulator.test_world import (
    emitted_until,
    environment,
    gateway,
    health,
)
from tests.support.servers import RedisServer, Server, wait_until

Answer = Callable[[web.Request], Awaitable[web.Response]]


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """Run the stand-in for the gateway in a thread. Yield its port."""
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), []
    over = asyncio.Event()

    async def serve() -> None:
        async with gateway(answer) as port:
            ports.append(port)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


def lives(
    settings: Settings,
    server: RedisServer,
    directory: Path,
    models: Sequence[str],
    hours: Sequence[float],
) -> Iterator[datetime]:
    """Let a process live up to each of these world hours after history, and kill it there.

    Yields the end of history, each time after the kill.
    """
    begun: datetime | None = None
    for until in hours:
        chosen = environment(settings) | {"DOJO_MODELS": ",".join(models)}
        command = [sys.executable, "-m", "services.simulator"]
        world = Server("simulator", command, directory, chosen)
        world.start()
        try:
            wait_until(lambda: health(settings)["state"] in ("paused", "live"), 60, "it lives")
            begun = begun or emitted_until(server)
            end = begun + timedelta(hours=until)
            RedisWorldClock(Redis.from_url(server.url)).set(end, 0)
            wait_until(lambda end=end: emitted_until(server) >= end, 60, "it is lived")
        finally:
            world.kill()
        yield begun
