"""One supervisor per home: a lock file. The kernel releases it whenever its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dojo.stack.paths import lock_file


class AlreadyRunningError(RuntimeError):
    """Another supervisor runs this home."""


class SupervisorLock:
    """Held from `acquire` to `release` or the process' end.

    Raises:
        AlreadyRunningError: From `acquire`.
    """

    def __init__(self, home: Path) -> None:
        self._file = lock_file(home)
        self._descriptor: int | None = None

    def acquire(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(descriptor)
                raise AlreadyRunningError(
                    f"another supervisor runs {self._file.parent.parent}"
                ) from error
            if self._is_current(descriptor):
                self._descriptor = descriptor
                return
            os.close(descriptor)  # its holder deleted the file between our open and our lock

    def release(self) -> None:
        """Delete the file while it is still held, so that no other supervisor's file is deleted."""
        if self._descriptor is not None:
            self._file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._file.stat())
        except FileNotFoundError:
            return False
