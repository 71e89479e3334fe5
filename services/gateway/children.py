"""What all child processes of the gateway share: their end, their restarts, their messages.

Children import this module, so the module itself imports little.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Seconds until a lost process is started again. A single crash should cost little, and a crash loop
# must not burn a core.
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.1, 10.0
# After a life of this length, a process starts again with the first backoff.
HEALTHY_AFTER_SECONDS = 30.0

# Why a process was lost. These are label values of metrics.
CRASHED = "crashed"  # it ended
HUNG = "hung"  # it gave no sign of life and was killed
NOT_STARTED = "not_started"
RESTARTS = (CRASHED, HUNG, NOT_STARTED)  # reasons for starting a process again

_LENGTH = struct.Struct("<I")


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux).

    This works even while the process is stopped or inside an endless loop.

    Args:
        parent: Process id of the parent.

    Raises:
        SystemExit: The parent has died before this call.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the gateway died before its child began")


class Backoff:
    """The pauses before the restarts of one process: 0.1, 0.2, 0.4 ... 10 seconds."""

    def __init__(self) -> None:
        self._next = FIRST_BACKOFF_SECONDS

    def after(self, lived: float) -> float:
        """Return the pause after a life of this many seconds. It doubles with every short life."""
        if lived > HEALTHY_AFTER_SECONDS:
            self._next = FIRST_BACKOFF_SECONDS
        pause, self._next = self._next, min(2 * self._next, LONGEST_BACKOFF_SECONDS)
        return pause


def frame(payload: bytes) -> bytes:
    """Return a payload with its length in front."""
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
