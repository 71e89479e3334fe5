"""The messages between the gateway and a sandbox: length-prefixed msgpack over a socket.

    gateway -> sandbox    ScoringBatch   rows to score
    sandbox -> gateway    Greeting       once: ready, or the reason for a refusal
                          [Result]       for one or more rows, in the order of sending

The sandbox imports this module, so the module itself imports little.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from services.gateway.sandbox.pace import VersionPace

# Why a row has no score. The set is closed, because these are label values of metrics.
ERROR = "error"  # the model raised
INVALID_SCORE = "invalid_score"  # outside the task's range
TIMEOUT = "timeout"  # later than the rest of the request's deadline
CRASHED = "crashed"  # the process ended with the row in it
HUNG = "hung"  # the process gave no sign of life and was killed
DOWN = "down"  # no process at the moment
QUEUE_FULL = "queue_full"  # too many rows waiting already
REASONS = (ERROR, INVALID_SCORE, TIMEOUT, CRASHED, HUNG, DOWN, QUEUE_FULL)

_LENGTH = struct.Struct("<I")


class ScoringBatch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Rows to score.

    Attributes:
        first: Id of the first row. The others follow.
        until: `time.monotonic()` after which the caller has stopped waiting. The clock is the same
            for all processes of a machine. 0 for no limit.
        values: float32, row after row.
    """

    first: int
    until: float
    values: bytes


class Result(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One row's score, or the reason why it has none.

    Attributes:
        seconds: Wall time of scoring.
    """

    row: int
    score: float | None
    seconds: float
    error: str = ""
    detail: str = ""


class Greeting(msgspec.Struct, array_like=True, frozen=True):
    """A sandbox's first message.

    Attributes:
        refused: Why the version must not be served. Empty once it is loaded, verified and warm.
        pace: How fast it is. None when it is refused.
    """

    refused: str
    pace: VersionPace | None = None


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
