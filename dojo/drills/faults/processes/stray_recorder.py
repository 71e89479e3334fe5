"""A recorder that a colleague started by hand, which holds the lake's lock and hangs.

It waits until the stack's recorder is restarted, takes over, and is stopped with SIGSTOP. The
supervisor knows nothing of it, so nothing heals it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Literal

import psutil

from dojo.core.settings import Settings
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown
from dojo.stack.supervisor.identity import ProcessId, identify
from services.recorder.ownership import LOCK_FILE

COMMAND = (sys.executable, "-m", "services.recorder")
PORT_VARIABLE = "DOJO_RECORDER_PORT"

# The stray one asks for the lock every tenth of a second. The supervisor waits a second before it
# starts its own again.
TAKEOVER_SECONDS = 20.0


class StrayRecorder(Injection):
    kind: Literal["stray_recorder"] = "stray_recorder"

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.stack.control import process_of  # late, as in the other faults

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        write_down({"port": port})
        stray = subprocess.Popen(
            COMMAND,
            env={**os.environ, "DOJO_HOME": str(settings.home.resolve()), PORT_VARIABLE: str(port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _wait_until(lambda: _listens(port), "the second recorder does not start")
        lock = settings.lake_dir / LOCK_FILE
        for attempt in range(3):
            if (own := process_of(settings.home, "recorder")) is not None:
                own.kill()
            try:
                _wait_until(
                    lambda: lock.read_text().startswith(f"{stray.pid} on "),
                    "the second recorder does not get the lake",
                    TAKEOVER_SECONDS / 4,
                )
                break
            except FaultRefusedError:
                if attempt == 2:
                    raise
        os.kill(stray.pid, signal.SIGSTOP)

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        for stray in _strays(receipt):
            stray.kill()
            stray.wait(10)

    def left(self, settings: Settings, receipt: Receipt) -> str:
        found = [stray.pid for stray in _strays(receipt)]
        return f"process {found[0]}, a second recorder" if found else ""


def _strays(receipt: Receipt) -> list[psutil.Process]:
    """Return the processes with the receipt's port in their environment. No other has it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(PORT_VARIABLE) == str(receipt["port"]):
                known = identify(process.pid)
                if known is not None and _is_recorder(known):
                    found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _is_recorder(known: ProcessId) -> bool:
    process = known.process()
    return process is not None and tuple(process.cmdline()[1:]) == COMMAND[1:]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until(
    condition: Callable[[], bool], otherwise: str, seconds: float = TAKEOVER_SECONDS
) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise FaultRefusedError(f"{otherwise} within {seconds:g} s")
        time.sleep(0.05)
