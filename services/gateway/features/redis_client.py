"""A small asyncio Redis client for many concurrent, bounded, pipelined calls on one connection.

redis-py's asyncio pipeline costs about 10x the CPU of this client per two-hash lookup. The figure
is from tests/bench/gateway.py. That pipeline locks a connection, packs every argument and awaits
each reply separately. Here all calls of one event-loop tick leave in one write. The C reader of
hiredis parses the replies. A caller waits on one future.

Redis answers in order, so calls wait in a queue. A call stays in the queue after its deadline. Its
late reply is dropped, and the connection stays in step.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
from redis.connection import parse_url

CONNECT_TIMEOUT_SECONDS = 1.0
# Backoff between attempts to connect. It is short enough to use a returned Redis well within 5 s,
# and long enough to cost nothing.
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.05, 0.5
# The client gives up a connection that is silent this long while replies are due. The server may
# be gone without a FIN.
SILENCE_SECONDS = 10.0


class RedisUnavailableError(ConnectionError):
    """No answer: not connected, connection lost, deadline passed, or Redis refused the command."""


def command(*arguments: bytes) -> bytes:
    """One command in Redis' wire format."""
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in arguments)


class _Call:
    """One caller waiting for `expected` replies.

    `timeout` is in seconds and counts from `now`, a time of the event loop's clock.
    """

    __slots__ = ("deadline", "expected", "future", "replies", "timeout")

    def __init__(
        self,
        future: asyncio.Future[list[Any]],
        expected: int,
        now: float = 0.0,
        timeout: float = math.inf,
    ) -> None:
        self.future = future
        self.expected = expected
        self.timeout = timeout
        self.deadline = now + timeout
        self.replies: list[Any] = []

    def fail(self, reason: str) -> None:
        if not self.future.done():
            self.future.set_exception(RedisUnavailableError(reason))


class _Connection(asyncio.Protocol):
    """One TCP connection. It lives until it is lost.

    One alarm serves the earliest deadline of all calls. A timer per call would cost more than
    parsing its reply.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reader = hiredis.Reader(replyError=cast("Any", RedisUnavailableError))
        self._pending: deque[_Call] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self.lost: asyncio.Future[None] = loop.create_future()
        self.heard_at = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, payload: bytes, call: _Call) -> None:
        if not self._pending:
            self.heard_at = self._loop.time()  # silence counts from the first reply due
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(payload)
        self._pending.append(call)
        if call.deadline < self._alarm_at:
            self._ring_at(call.deadline)

    def _ring_at(self, deadline: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if deadline == math.inf else self._loop.call_at(deadline, self._rung)
        self._alarm_at = deadline

    def _rung(self) -> None:
        now, waiting = self._loop.time(), [call for call in self._pending if not call.future.done()]
        for call in waiting:
            if call.deadline <= now:
                call.fail(f"no answer within {call.timeout * 1000:.0f} ms")
        self._ring_at(
            min((call.deadline for call in waiting if call.deadline > now), default=math.inf)
        )

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                call = self._pending[0]
                call.replies.append(reply)
                if len(call.replies) == call.expected:
                    self._pending.popleft()
                    if not call.future.done():
                        call.future.set_result(call.replies)
        except (hiredis.ProtocolError, IndexError):  # not Redis' protocol, or an unexpected reply
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ring_at(math.inf)
        for call in self._pending:
            call.fail(f"connection lost: {exc or 'closed by Redis'}")
        self._pending.clear()
        if not self.lost.done():
            self.lost.set_result(None)

    def is_silent(self) -> bool:
        return bool(self._pending) and self._loop.time() - self.heard_at > SILENCE_SECONDS

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class RedisClient:
    """Pipelined calls with deadlines.

    `run` keeps the client connected. Without a connection every call fails at once.

    Args:
        url: `redis://[user:password@]host:port/db`, or `rediss://` for TLS.
    """

    def __init__(self, url: str) -> None:
        options = cast("dict[str, Any]", parse_url(url))  # type: ignore[no-untyped-call]
        self._host = str(options.get("host", "localhost"))
        self._port = int(options.get("port", 6379))
        self._tls = ssl.create_default_context() if url.startswith("rediss://") else None
        self._greeting = _greeting(
            options.get("username"), options.get("password"), int(options.get("db", 0))
        )
        self._connection: _Connection | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def call(self, payload: bytes, replies: int, timeout: float) -> asyncio.Future[list[Any]]:
        """Send commands and collect their replies in order.

        Args:
            payload: One or more commands in wire format.
            timeout: Seconds until the future fails. The commands may still have run.

        Returns:
            A future of `replies` replies. Each may be Redis' refusal as a RedisUnavailableError.
            The future itself fails with RedisUnavailableError.
        """
        loop = asyncio.get_running_loop()
        call = _Call(loop.create_future(), replies, loop.time(), timeout)
        if self._connection is None or self._connection.lost.done():
            call.fail("not connected")
        else:
            self._connection.send(payload, call)
        return call.future

    async def run(self) -> None:
        """Keep connected until cancelled. Connects again after each loss."""
        loop = asyncio.get_running_loop()
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    _, connection = await loop.create_connection(
                        lambda: _Connection(loop), self._host, self._port, ssl=self._tls
                    )
            except (OSError, TimeoutError):
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
                continue
            backoff = FIRST_BACKOFF_SECONDS
            try:
                await self._use(connection)
            finally:
                self._connection = None
                connection.abort()
            await asyncio.sleep(FIRST_BACKOFF_SECONDS)

    async def _use(self, connection: _Connection) -> None:
        if self._greeting:
            greeting = _Call(asyncio.get_running_loop().create_future(), len(self._greeting))
            # A failed greeting also fails the later commands, so its own error is not needed.
            greeting.future.add_done_callback(lambda future: future.exception())
            connection.send(b"".join(self._greeting), greeting)
        self._connection = connection
        while not connection.lost.done():
            await asyncio.wait((connection.lost,), timeout=1.0)
            if connection.is_silent():
                return


def _greeting(username: str | None, password: str | None, db: int) -> Sequence[bytes]:
    commands = []
    if password:
        commands.append(
            command(b"AUTH", *([username.encode()] if username else []), password.encode())
        )
    if db:
        commands.append(command(b"SELECT", str(db).encode()))
    return commands
