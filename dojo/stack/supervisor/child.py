"""One supervised process as the operating system sees it.

It is started in its own session and ended with the whole session.
"""

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
from dojo.stack.supervisor.overrides import Override
from dojo.stack.table import COMMON_ENVIRONMENT, ProcessSpec


def command_line(spec: ProcessSpec, platform: str = sys.platform) -> list[str]:
    """The command as it is run. On Linux the kernel ends it with its supervisor (tether.py)."""
    if platform != "linux":
        # There `dojo down` finds the processes of a killed supervisor through status.json.
        return list(spec.command)
    # -I -S: without the environment's Python variables and site-packages. 15 ms instead of 150.
    return [sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid()), *spec.command]


class Child:
    """A running process.

    Make it on the main thread. The kernel ties its life to the thread that starts it.
    """

    def __init__(
        self, spec: ProcessSpec, home: Path, environment: Mapping[str, str], override: Override
    ) -> None:
        log = log_file(home, spec.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        rotate(log)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command_line(spec),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **environment,
                    **COMMON_ENVIRONMENT,
                    **spec.environment,
                    **override.environment,
                },
                cwd=override.directory,
                # Its pid names its session. A terminal's Ctrl-C does not reach it.
                start_new_session=True,
            )
        if spec.niceness:
            # Before it has threads, because they inherit it.
            psutil.Process(self._process.pid).nice(spec.niceness)
        self._orderly = spec.orderly
        # The process is not reaped before `exit_code` sees it dead, so the pid is still its own.
        self.id: ProcessId | None = identify(self._process.pid)

    @property
    def session(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs. A negative code is the signal that ended it."""
        return self._process.poll()

    def members(self) -> list[ProcessId]:
        """The process and all that it started."""
        return session_members([self.session])[self.session]

    def kill(self) -> None:
        """Kill the process and all that it started, at once."""
        end(self.members(), grace=0)

    def end(self, grace: float) -> list[ProcessId]:
        """End the whole session. Returns the processes that had to be killed.

        This includes processes that a dead one left running: MLflow's server outlives its launcher.
        """
        first = [self.id] if self._orderly and self.id is not None else []
        # An orderly process had the grace to end its children, so remaining ones get 1 s.
        killed = [*end(first, grace), *end(self.members(), 1 if first else grace)]
        self._process.poll()
        return killed
