"""A service's process, for faults that need it to run."""

from __future__ import annotations

import psutil

from dojo.core.settings import Settings
from dojo.drills.faults.fault import FaultRefusedError


def running_service(settings: Settings, name: str) -> psutil.Process:
    """Return a service's process.

    Raises:
        FaultRefusedError: It does not run.
    """
    from dojo.stack.control import process_of  # late, as in the faults

    process = process_of(settings.home, name)
    if process is None:
        raise FaultRefusedError(f"{name} does not run")
    return process
