"""Messages that are no events, set aside for a human: `<lake>/_rejected/<stream>.jsonl`, one JSON object a line.

Each line has message_id, reason, rejected_at (wall time) and payload (as text; undecodable bytes become U+FFFD).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dojo.core.events.types import Stream
from dojo.core.state.clock import wall_now
from services.recorder.rows import RejectedRow

# A producer gone wrong can reject every message it writes: two files of this size per stream keep the latest thousands,
# bytes.
MAXIMUM_BYTES = 8 * 1024 * 1024


class _Line(msgspec.Struct):
    message_id: str


class RejectedMessages:
    """Appends rejections, each message once."""

    def __init__(self, directory: Path, maximum_bytes: int = MAXIMUM_BYTES) -> None:
        self._directory = directory
        self._maximum_bytes = maximum_bytes

    def file(self, stream: Stream) -> Path:
        return self._directory / f"{stream}.jsonl"

    def add(self, stream: Stream, rejections: Sequence[RejectedRow]) -> None:
        """Write them durably. Those that a killed recorder had written already are not written again."""
        if not rejections:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self.file(stream)
        if path.exists() and path.stat().st_size > self._maximum_bytes:
            path.replace(path.with_suffix(".1.jsonl"))
        with path.open("a+b") as file:
            file.seek(0)
            written = _written(file.read())
            file.truncate(written.length)
            for rejection in rejections:
                if rejection.message_id not in written.message_ids:
                    file.write(_line(rejection))
            file.flush()
            os.fsync(file.fileno())


class _Written(msgspec.Struct):
    """What whole lines hold, and where they end: a kill in the middle of a line leaves the rest of it behind."""

    message_ids: frozenset[str]
    length: int


def _written(content: bytes) -> _Written:
    length = content.rfind(b"\n") + 1
    return _Written(frozenset(_message_id(line) for line in content[:length].split(b"\n")), length)


def _message_id(line: bytes) -> str:
    try:
        return msgspec.json.decode(line, type=_Line).message_id
    except msgspec.MsgspecError:
        return ""  # somebody edited the file; it is theirs to edit


def _line(rejection: RejectedRow) -> bytes:
    return (
        msgspec.json.encode(
            {
                "message_id": rejection.message_id,
                "reason": rejection.reason,
                "rejected_at": wall_now(),
                "payload": rejection.payload.decode(errors="replace"),
            }
        )
        + b"\n"
    )
