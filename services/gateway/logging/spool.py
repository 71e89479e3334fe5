"""Prediction events on disk while the event log is away.

The spool is a bounded queue of JSON lines in numbered segment files.

    00000001.jsonl  00000002.jsonl ...      oldest first; a fully delivered segment is deleted

A crash between delivery and deletion delivers a segment again. This is harmless, because events
carry ids.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

# A segment is delivered as a whole. At about 1.5 kB an event these are some 700 events. Redis takes
# them in milliseconds.
SEGMENT_BYTES = 1_048_576


def take_over(left: Path, into: Path) -> None:
    """Move the segments of a spool behind those of another. No process may use either.

    Args:
        left: Directory of a spool whose process does not exist any more. It may be missing.
        into: Directory of the spool that delivers the events.
    """
    into.mkdir(parents=True, exist_ok=True)
    last = max((int(path.stem) for path in into.glob("*.jsonl")), default=0)
    for number, segment in enumerate(sorted(left.glob("*.jsonl")), last + 1):
        segment.replace(_segment(into, number))


class Spool:
    """The queue on disk. Its calls block, and only one thread may call at a time.

    Args:
        max_bytes: Limit on disk. `append` refuses events beyond it.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        directory.mkdir(parents=True, exist_ok=True)
        self._sizes = {path: path.stat().st_size for path in sorted(directory.glob("*.jsonl"))}
        self._next = 1 + max((int(path.stem) for path in self._sizes), default=0)
        self._open: Path | None = None  # earlier runs' segments stay closed: torn end

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    def append(self, events: Sequence[bytes]) -> int:
        """Write events durably, in order, as many as fit.

        Returns:
            The number of events written.

        Raises:
            OSError: The disk refused.
        """
        room = self._max_bytes - self.size
        taken = 0
        for event in events:
            room -= len(event) + 1
            if room < 0:
                break
            taken += 1
        if taken:
            self._write(b"\n".join(events[:taken]) + b"\n")
        return taken

    def oldest(self) -> tuple[Path, list[bytes]] | None:
        """Return the oldest segment and its events, or None. Skips a last line torn by a crash."""
        for path in self._sizes:
            whole, _, _torn = path.read_bytes().rpartition(b"\n")
            return path, [line for line in whole.split(b"\n") if line]
        return None

    def delete(self, segment: Path) -> None:
        if segment == self._open:
            self._open = None
        segment.unlink(missing_ok=True)
        del self._sizes[segment]

    def _write(self, content: bytes) -> None:
        if self._open is None or self._sizes[self._open] >= SEGMENT_BYTES:
            self._open = _segment(self._directory, self._next)
            self._next += 1
        segment, self._open = self._open, None  # after a failed write it stays closed: torn end
        try:
            with segment.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        finally:
            if segment.exists():
                self._sizes[segment] = segment.stat().st_size
        self._open = segment


def _segment(directory: Path, number: int) -> Path:
    return directory / f"{number:08}.jsonl"
