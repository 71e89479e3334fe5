"""`python -m dojo.stack.supervisor`: runs the embedded stack's supervisor until SIGTERM.

`dojo up` starts it detached.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from dojo.core.service import run_process, stop_on_signal
from dojo.stack.paths import status_file
from dojo.stack.supervisor.lock import AlreadyRunningError, SupervisorLock
from dojo.stack.supervisor.supervisor import Supervisor
from dojo.stack.table import ProcessSpec, processes


def main() -> int:
    return run_process("supervisor", lambda settings: supervise(processes(settings), settings.home))


def supervise(specs: Sequence[ProcessSpec], home: Path) -> int:
    """Run these processes until SIGTERM or SIGINT.

    Returns the exit code: 0, or 3 when the home already has a supervisor.
    """
    log = structlog.get_logger()
    lock = SupervisorLock(home)
    try:
        lock.acquire()
    except AlreadyRunningError as error:
        log.error("not started", reason=str(error))
        return 3
    try:
        stop = stop_on_signal()
        # The home as an absolute path, so that processes in other directories agree on it.
        environment = {**os.environ, "DOJO_HOME": str(home.resolve())}
        Supervisor(specs, home, environment).run(stop)
        status_file(home).unlink(missing_ok=True)
    finally:
        lock.release()
    log.info("stopped, nothing left running")
    return 0


if __name__ == "__main__":
    sys.exit(main())
