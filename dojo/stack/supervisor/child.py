"""One supervised process as the operating system sees it: started in a session of its own, ended with all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from dojo.stack.paths import log_file
from dojo.stack.supervisor import tether
from dojo.stack.supervisor.identity import ProcessId, end, identify, session_members
from dojo.stack.supervisor.logfiles import rotate
from dojo.stack.table import COMMON_ENVIRONMENT, ProcessSpec


def command_line(spec: ProcessSpec, platform: str = sys.platform) -> list[str]:
    """The command as it is run. On Linux the kernel ends it when the supervisor dies (tether.py)."""
    if platform != "linux":
        return list(
            spec.command
        )  # there `dojo down` finds what a killed supervisor left, through status.json
    # -I -S: nothing of the environment, no site-packages; 15 ms instead of 150.
    return [sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid()), *spec.command]


class Child:
    """A running process. Make it on the main thread: the kernel's tether is to the thread that starts the process."""

    def __init__(self, spec: ProcessSpec, home: Path, environment: Mapping[str, str]) -> None:
        log = log_file(home, spec.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        rotate(log)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command_line(spec),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment, **COMMON_ENVIRONMENT, **spec.environment},
                start_new_session=True,  # its pid names its session; a terminal's Ctrl-C does not reach it
            )
        if spec.niceness:
            psutil.Process(self._process.pid).nice(
                spec.niceness
            )  # before it has threads, which inherit it
        self._orderly = spec.orderly
        # Not reaped before `exit_code` sees it dead, so the pid is still its own.
        self.id: ProcessId | None = identify(self._process.pid)

    @property
    def session(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll()

    def members(self) -> list[ProcessId]:
        """It and everything it started."""
        return session_members([self.session])[self.session]

    def end(self, grace: float) -> list[ProcessId]:
        """End the whole session: also what a process that died left running (MLflow's server outlives its launcher)."""
        first = [self.id] if self._orderly and self.id is not None else []
        # Whom an orderly process leaves behind has had its grace already.
        killed = [*end(first, grace), *end(self.members(), 1 if first else grace)]
        self._process.poll()
        return killed
