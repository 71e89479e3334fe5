"""What the gateway and a sandbox say to each other over a socket: length-prefixed msgpack.

    gateway -> sandbox    Batch      rows to score
    sandbox -> gateway    Greeting   once: ready, or why not
                          [Result]   for one or more rows, in the order they were sent

The sandbox imports this module: it brings msgspec and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

# Why a row has no score. Bounded: these are label values of metrics.
ERROR = "error"  # the model raised
INVALID_SCORE = "invalid_score"  # beyond what the task can give
TIMEOUT = "timeout"  # not within what was left of the request's deadline
CRASHED = "crashed"  # the process ended with the row in it
HUNG = "hung"  # the process gave no sign of life and was killed
DOWN = "down"  # no process at the moment
QUEUE_FULL = "queue_full"  # too many rows waiting already
REASONS = (ERROR, INVALID_SCORE, TIMEOUT, CRASHED, HUNG, DOWN, QUEUE_FULL)

_LENGTH = struct.Struct("<I")


class ScoringBatch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Rows to score.

    Attributes:
        first: id of the first row; the others follow.
        until: `time.monotonic()` (one clock for all processes of a machine) after which nobody waits any more; 0: no end.
        values: float32, row after row.
    """

    first: int
    until: float
    values: bytes


class Result(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One row's score, or why there is none. seconds: wall time of scoring."""

    row: int
    score: float | None
    seconds: float
    error: str = ""
    detail: str = ""


class Greeting(msgspec.Struct, array_like=True, frozen=True):
    """refused: why the version must not be served; empty when it is loaded, verified and warm."""

    refused: str


def frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts a stream of bytes into payloads."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            end = at + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            yield bytes(self._buffer[at + _LENGTH.size : end])
            at = end
        del self._buffer[:at]
