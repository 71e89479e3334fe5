"""The socket to one sandbox process: batches out, results in, and the waiting callers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import cast

import msgspec
import structlog

from services.gateway.children import FrameReader, frame
from services.gateway.sandbox.frames import Greeting, Result, ScoringBatch

_log = structlog.get_logger("gateway.sandbox")
_encode = msgspec.msgpack.Encoder().encode


class Call:
    """One caller waiting for `count` rows, starting at `first`."""

    __slots__ = ("first", "future", "missing", "results", "timer")

    def __init__(self, first: int, count: int, future: asyncio.Future[list[Result]]) -> None:
        self.first = first
        self.future = future
        self.missing = count
        self.results: list[Result | None] = [None] * count
        self.timer: asyncio.TimerHandle | None = None

    def give(self, result: Result) -> None:
        self.results[result.row - self.first] = result
        self.missing -= 1
        if not self.missing:
            self.end("")

    def end(self, reason: str) -> None:
        """Answer now. Rows without a result fail with `reason`."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.future.done():
            first = self.first
            self.future.set_result(
                [r or Result(first + at, None, 0.0, reason) for at, r in enumerate(self.results)]
            )


class SandboxLink(asyncio.Protocol):
    """The socket to one child. It lives as long as that child."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.greeting: asyncio.Future[Greeting] = loop.create_future()
        self.lost = asyncio.Event()
        self.waiting: deque[tuple[int, Call]] = deque()  # rows come back in the order of sending
        self.heard_at = time.monotonic()
        self._reader = FrameReader()
        self._greeting_decoder = msgspec.msgpack.Decoder(Greeting)
        self._decoder = msgspec.msgpack.Decoder(list[Result])
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @property
    def is_closing(self) -> bool:
        """The child is gone, so writing would raise. The loss may not be reported yet."""
        return self.transport is None or self.transport.is_closing()

    def send(self, batch: ScoringBatch, count: int, call: Call) -> None:
        if not self.waiting:
            self.heard_at = time.monotonic()  # silence counts from the first result due
        self.waiting.extend((batch.first + at, call) for at in range(count))
        assert self.transport is not None
        self.transport.write(frame(_encode(batch)))

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        try:
            for payload in self._reader.feed(data):
                if not self.greeting.done():
                    self.greeting.set_result(self._greeting_decoder.decode(payload))
                    continue
                for result in self._decoder.decode(payload):
                    row, call = self.waiting.popleft()
                    if result.row != row:
                        raise ValueError(f"a result for row {result.row}, expected {row}")
                    call.give(result)
        except (ValueError, IndexError) as error:  # the child broke the protocol
            _log.error("a sandbox sent nonsense", reason=str(error))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def is_hanging(self, seconds: float) -> bool:
        """Whether results are due and none came for this long."""
        return bool(self.waiting) and time.monotonic() - self.heard_at > seconds

    def fail_waiting(self, reason: str) -> None:
        for _, call in self.waiting:
            call.end(reason)
        self.waiting.clear()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
