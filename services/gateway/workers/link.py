"""The messages between the parent and a worker: length-prefixed msgpack over a socket.

    parent -> worker    Ask            the parent wants a StateReport
                        Whole          answers a StateQuestion

    worker -> parent    StateReport    the worker's state
                        StateQuestion  a caller wants the state of the whole

The parent stays small, so this module imports little.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias, cast

import msgspec
from prometheus_client import Metric

from services.gateway.children import FrameReader, frame

# How long the parent waits for the report of a worker. A busy one answers within its longest turn,
# tens of milliseconds. Later, its last report counts.
REPORT_SECONDS = 1.0
# How long a worker waits for the parent, which waits for all others. Less than the 2 s of the
# supervisor's health check.
WHOLE_SECONDS = 1.5

About: TypeAlias = Literal["health", "readiness", "metrics"]
Labels: TypeAlias = tuple[tuple[str, str], ...]

# The ticket of a report that was not asked for.
UNASKED = 0


class Family(msgspec.Struct, array_like=True, frozen=True):
    """One metric of a process.

    Attributes:
        samples: Name, labels and value of each.
    """

    name: str
    documentation: str
    type: str
    samples: list[tuple[str, Labels, float]]


class Ask(msgspec.Struct, tag=True, frozen=True):
    ticket: int


class Whole(msgspec.Struct, tag=True, frozen=True):
    """The state of the whole gateway, as JSON or as Prometheus' text."""

    ticket: int
    content: bytes


class StateReport(msgspec.Struct, tag=True, frozen=True):
    """The state of one worker.

    Attributes:
        serving: Whether it takes requests.
        is_ready: Whether it serves each model that has a version.
        health: What its /healthz would say alone.
    """

    ticket: int
    serving: bool
    is_ready: bool
    health: dict[str, object]
    metrics: list[Family]


class StateQuestion(msgspec.Struct, tag=True, frozen=True):
    ticket: int
    about: About


Message: TypeAlias = Ask | Whole | StateReport | StateQuestion


class Link(asyncio.Protocol):
    """One end of the socket between the parent and a worker.

    Args:
        receive: Called with each message of the other end.
        lost: Called when the other end is gone.
    """

    def __init__(self, receive: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._receive, self._lost = receive, lost
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Message).decode
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None

    async def open(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=connection)

    def send(self, message: Message) -> None:
        """Send a message. It goes nowhere when the other end is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(self._encode(message)))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for payload in self._reader.feed(data):
            self._receive(self._decode(payload))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()


def families_of(metrics: Iterable[Metric]) -> list[Family]:
    """Return collected metrics in the form of a report."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [(one.name, tuple(one.labels.items()), one.value) for one in metric.samples],
        )
        for metric in metrics
    ]
