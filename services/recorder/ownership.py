"""One recorder per lake, because two would each drop only their own duplicates."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

LOCK_FILE = ".recorder.lock"


class LakeOwnership:
    """A lock on the lake. The kernel releases it when the process ends, also after a kill."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Whether the lake is ours now. Raises OSError when the lake cannot be written to."""
        if self._descriptor is not None:
            return True
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode())
        self._descriptor = descriptor
        return True

    def owner(self) -> str:
        """Process id and host of the latest holder of the lock, for people to read.

        In containers the host is the container's id.
        """
        return (self.root / LOCK_FILE).read_text()

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def remove_leftovers(root: Path) -> int:
    """Delete the half-written files of a killed recorder. Call it as the owner.

    It deletes only the recorder's files, because other processes may be writing now.
    """
    leftovers = list(root.glob("*/date=*/.part-*.tmp"))
    for path in leftovers:
        path.unlink()
    return len(leftovers)
