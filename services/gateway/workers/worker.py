"""One worker of a gateway: `python -m services.gateway.workers.worker` with four arguments.

The parent (`services/gateway/workers/parent.py`) starts and ends this process. It also ends with
its parent.

    LISTENER   file descriptor of the HTTP port's socket
    SOCKET     file descriptor of a connected stream socket to the parent
    NUMBER     the worker's number, from 1
    PARENT     process id of the parent
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import msgspec
import structlog

from dojo.core.service import run_process
from dojo.core.settings import Settings
from services.gateway.app import build
from services.gateway.children import end_with
from services.gateway.http.server import run_server
from services.gateway.state import Document, NoStateError, OwnState
from services.gateway.workers.folders import folder
from services.gateway.workers.link import (
    UNASKED,
    WHOLE_SECONDS,
    About,
    Ask,
    Link,
    Message,
    StateQuestion,
    StateReport,
    Whole,
    families_of,
)


class Member:
    """This worker's place in the gateway: it reports to the parent, and asks it for the whole."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._link = Link(self._receive, _end)
        self._own: OwnState | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._ticket = UNASKED

    async def join(self, own: OwnState) -> None:
        self._own = own
        await self._link.open(self._connection)

    def report(self) -> None:
        self._report(UNASKED)

    async def health(self) -> Document:
        return _document(await self._whole("health"))

    async def readiness(self) -> Document:
        return _document(await self._whole("readiness"))

    async def metrics(self) -> bytes:
        return await self._whole("metrics")

    async def _whole(self, about: About) -> bytes:
        self._ticket += 1
        ticket = self._ticket
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = future
        self._link.send(StateQuestion(ticket, about))
        try:
            async with asyncio.timeout(WHOLE_SECONDS):
                return await future
        except TimeoutError:
            raise NoStateError(
                f"the gateway's parent process did not answer within {WHOLE_SECONDS:g} s"
            ) from None
        finally:
            del self._waiting[ticket]

    def _receive(self, message: Message) -> None:
        if isinstance(message, Ask):
            self._report(message.ticket)
        elif isinstance(message, Whole):
            future = self._waiting.get(message.ticket)
            if future is not None and not future.done():
                future.set_result(message.content)

    def _report(self, ticket: int) -> None:
        own = self._own
        assert own is not None
        self._link.send(
            StateReport(
                ticket,
                own.serving,
                own.is_ready,
                dict(own.now()),
                families_of(own.registry.collect()),
            )
        )


def part_of(settings: Settings) -> Settings:
    """Return the settings of one worker: its equal part of each limit of the gateway.

    Requests are rounded up, so that each worker takes at least one. Bytes are rounded down.
    """
    workers = settings.gateway_workers
    return settings.model_copy(
        update={
            "max_in_flight": -(-settings.max_in_flight // workers),
            "spool_max_bytes": settings.spool_max_bytes // workers,
        }
    )


def main() -> int:
    listener, descriptor, number, parent = map(int, sys.argv[1:])
    end_with(parent)

    def serve_requests(settings: Settings) -> int:
        structlog.contextvars.bind_contextvars(worker=number)
        app = build(
            part_of(settings),
            folder(settings.home / "gateway", number),
            Member(socket.socket(fileno=descriptor)),
        )
        port = socket.socket(fileno=listener)
        run_server(app, settings.host, settings.gateway_port, port)
        return 0

    return run_process("gateway", serve_requests)


def _end() -> None:
    """End at once, because the parent is gone. Linux has done so already, other systems have not.

    A restarted gateway needs the ports.
    """
    os.kill(os.getpid(), signal.SIGKILL)


def _document(content: bytes) -> Document:
    document: Document = msgspec.json.decode(content)
    return document


if __name__ == "__main__":
    sys.exit(main())
