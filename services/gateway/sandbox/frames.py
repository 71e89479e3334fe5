"""The messages between the gateway and a sandbox: length-prefixed msgpack over a socket.

    gateway -> sandbox    ScoringBatch   rows to score
    sandbox -> gateway    Greeting       once: ready, or the reason for a refusal
                          [Result]       for one or more rows, in the order of sending

The sandbox imports this module, so the module itself imports little.
"""

from __future__ import annotations

import msgspec

from services.gateway.children import CRASHED, HUNG
from services.gateway.sandbox.pace import VersionPace

# Why a row has no score, in addition to CRASHED and HUNG with the row in the process. The set is
# closed, because these are label values of metrics.
ERROR = "error"  # the model raised
INVALID_SCORE = "invalid_score"  # outside the task's range
TIMEOUT = "timeout"  # later than the rest of the request's deadline
DOWN = "down"  # no process at the moment
QUEUE_FULL = "queue_full"  # too many rows waiting already
REASONS = (ERROR, INVALID_SCORE, TIMEOUT, CRASHED, HUNG, DOWN, QUEUE_FULL)


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
