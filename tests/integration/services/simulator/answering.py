"""A stand-in for the gateway beside a world in another process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.integration.services.simulator.test_world import gateway

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
