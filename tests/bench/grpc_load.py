"""gRPC calls as bytes on the wire, for the load generator.

A client in Python costs as much as the server, so it would measure itself. This one knows only as
much of HTTP/2 as an answer needs. Its windows are larger than all answers of a run. It sends one
call at a time on a connection.
"""

from __future__ import annotations

import asyncio

from tests.bench.load import Connection

DATA, HEADERS, SETTINGS, PING = 0x0, 0x1, 0x4, 0x6
WINDOW_UPDATE, GOAWAY = 0x8, 0x7
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
LARGEST_WINDOW = 2**31 - 1  # bytes
INITIAL_WINDOW = 65_535  # bytes, of a connection in HTTP/2


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + _number(stream) + payload


def call(path: str, message: bytes) -> bytes:
    """Return one call for `GrpcConnection.send`, which puts the stream's number in."""
    # HPACK, without compression: 0x83 is `:method POST`, 0x86 is `:scheme http`.
    head = b"\x83\x86" + b"\x04" + _text(path) + b"\x01" + _text("bench")
    head += b"\x0f\x10" + _text("application/grpc") + b"\x00" + _text("te") + _text("trailers")
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return frame(HEADERS, END_HEADERS, 0, head) + frame(DATA, END_STREAM, 0, body)


class GrpcConnection(Connection):
    """One connection of HTTP/2. A call without a message in its answer is an error."""

    _stream, _found = -1, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        window = b"\0\x04" + _number(LARGEST_WINDOW)  # SETTINGS_INITIAL_WINDOW_SIZE
        greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, window)
        more = frame(WINDOW_UPDATE, 0, 0, _number(LARGEST_WINDOW - INITIAL_WINDOW))
        self._transport.write(greeting + more)  # type: ignore[attr-defined]

    def send(self, request: bytes, due: float) -> None:
        self._stream += 2
        stream, second = _number(self._stream), 9 + int.from_bytes(request[:3], "big")
        numbered = request[:5] + stream + request[9 : second + 5] + stream + request[second + 9 :]
        super().send(numbered, due)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + length:
                return
            kind, flags = self._buffer[3], self._buffer[4]
            payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
            if kind in (SETTINGS, PING) and not flags & ACK:
                answer = frame(kind, ACK, 0, payload if kind == PING else b"")
                self._transport.write(answer)  # type: ignore[attr-defined]
            elif kind == DATA:
                self._found = True
            elif kind == HEADERS and flags & END_STREAM:
                ok, self._found = self._found, False
                self._load.answered(self, ok)


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _text(value: str) -> bytes:
    """Return a text of at most 126 bytes, as HPACK writes it."""
    return bytes((len(value),)) + value.encode()
