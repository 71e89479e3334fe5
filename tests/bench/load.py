"""A small load generator with keep-alive connections, at full speed or a fixed rate.

It speaks HTTP/1.1, and gRPC through `grpc_load`. It runs on the core to which it is pinned. At a
fixed rate, some requests are due before a connection is free. Their latency counts from that
moment. So a stalling server cannot hide the requests that it kept from being sent (coordinated
omission). Other requests count from their sending, so that the generator's timer is not counted. A
latency may be a tick too short.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# Seconds between checks for due requests. The event loop's timers count whole milliseconds. With a
# shorter tick it never sleeps, and Redis on the same core waits for its turn.
TICK_SECONDS = 0.001


@dataclass
class Result:
    """The answers of a run. `latencies` in seconds, sorted."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def quantile(self, q: float) -> float:
        """Return a latency quantile, seconds."""
        return self.latencies[min(len(self.latencies) - 1, int(q * len(self.latencies)))]


def post(path: str, document: object) -> bytes:
    """Return one POST with a JSON body, as bytes on the wire."""
    body = json.dumps(document).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length:"
        f" {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection of HTTP/1.1. Tells `load` of each answer."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._buffer.find(b"content-length: ")
        length = int(self._buffer[at + 16 : self._buffer.index(b"\r\n", at)])
        if len(self._buffer) < end + 4 + length:
            return
        ok = self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer = self._buffer[end + 4 + length :]
        self._load.answered(self, ok)

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lost()

    def close(self) -> None:
        self._transport.abort()  # type: ignore[attr-defined]


class _Load:
    def __init__(self, load: Load) -> None:
        self._requests: Iterator[bytes] = itertools.cycle(load.requests)
        self._rate, self._connection = load.rate, load.connection
        self._free: deque[Connection] = deque()
        self.result = Result()
        self.stopped = False

    def answered(self, connection: Connection, ok: bool) -> None:
        now = time.perf_counter()
        self.result.latencies.append(now - connection.due)
        self.result.errors += not ok
        if self._rate is None and not self.stopped:
            connection.send(next(self._requests), now)
        else:
            self._free.append(connection)

    def lost(self) -> None:
        self.result.errors += not self.stopped

    async def run(self, port: int, connections: int, warm_up: float, seconds: float) -> Result:
        loop = asyncio.get_running_loop()
        opened = []
        for _ in range(connections):
            _, connection = await loop.create_connection(
                lambda: self._connection(self), "127.0.0.1", port
            )
            opened.append(connection)
        self._free.extend(opened)
        if self._rate is None:
            for connection in opened:
                connection.send(next(self._requests), time.perf_counter())
        pacing = asyncio.create_task(self._pace(self._rate)) if self._rate else None
        await asyncio.sleep(warm_up)
        self.result = Result()
        started = time.perf_counter()
        await asyncio.sleep(seconds)
        self.result.seconds = time.perf_counter() - started
        self.stopped = True
        if pacing:
            pacing.cancel()
        for connection in opened:
            connection.close()
        self.result.latencies.sort()
        return self.result

    async def _pace(self, rate: float) -> None:
        due, all_busy = time.perf_counter(), False
        while True:
            now = time.perf_counter()
            while due <= now and self._free:
                self._free.popleft().send(next(self._requests), due if all_busy else now)
                due += 1 / rate
            all_busy = due <= now
            await asyncio.sleep(TICK_SECONDS)


def run_load(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    rate: float | None = None,
    warm_up: float = 0.5,
) -> Result:
    """Send `requests` in turn, with one open request per connection.

    Args:
        port: Port of the server.
        requests: Requests as bytes on the wire.
        connections: Number of connections.
        seconds: Measured time.
        rate: Requests per second in all. None is as fast as the server answers.
        warm_up: Seconds before the measurement.
    """
    return run_loads(port, [Load(requests, connections, rate)], seconds, warm_up)[0]


@dataclass(frozen=True)
class Load:
    """One kind of load. `rate` in requests per second. None is as fast as the server answers.

    Attributes:
        connection: The protocol that the requests are written in.
    """

    requests: Sequence[bytes]
    connections: int
    rate: float | None = None
    connection: type[Connection] = Connection


def run_loads(
    port: int, loads: Sequence[Load], seconds: float, warm_up: float = 0.5
) -> list[Result]:
    """Run several loads side by side. Return a result for each. Arguments as for `run_load`."""
    import uvloop

    async def run() -> list[Result]:
        return await asyncio.gather(
            *(_Load(load).run(port, load.connections, warm_up, seconds) for load in loads)
        )

    return uvloop.run(run())
