"""Runs Airflow's components until SIGTERM. Ends when one of them ends.

The supervisor then starts all of them anew.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import psutil
import structlog

from dojo.core.service import run_process, stop_on_signal
from dojo.core.settings import Settings
from dojo.stack.airflow_server.home import component_environment, database, prepare
from dojo.stack.blank_databases import begin, mark

# No triggerer, because no task here waits in one. The API server shows a task's log from the shared
# directory, so the scheduler need not serve it.
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}

# Seconds from SIGTERM to SIGKILL: for processes that may still report to the API server, then for
# the API server.
GRACE_SECONDS, SERVER_GRACE_SECONDS = 10.0, 5.0

log = structlog.get_logger()


def main() -> int:
    return run_process("airflow", run_airflow)


def run_airflow(settings: Settings) -> int:
    stop = stop_on_signal()
    home = prepare(settings)
    environment = component_environment(os.environ, home)
    # Asking Airflow itself whether its database is up to date takes 8 s.
    is_known = begin("airflow", database(home))
    if not is_known and (code := _migrate(home, environment, stop)) != 0:
        return code
    return _run(environment, stop)


def _migrate(home: Path, environment: Mapping[str, str], stop: threading.Event) -> int:
    log.info("making the database", home=str(home))
    migration = subprocess.Popen(_command("db", "migrate"), env=environment)
    while migration.poll() is None and not stop.wait(0.05):
        pass
    if stop.is_set():
        end(None, [migration])
        return 0
    if migration.returncode == 0:
        mark("airflow", database(home))
    return migration.returncode


def _run(environment: Mapping[str, str], stop: threading.Event) -> int:
    running = {
        name: subprocess.Popen(_command(*arguments), env=environment)
        for name, arguments in COMPONENTS.items()
    }
    log.info("started", **{name: process.pid for name, process in running.items()})
    try:
        while not stop.wait(0.2):
            for name, process in running.items():
                if (code := process.poll()) is not None:
                    log.error("component died", name=name, exit_code=code)
                    return 1
        return 0
    finally:
        server = running.pop("api-server")
        end(server, running.values())


def _command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "airflow", *arguments)


def end(
    server: subprocess.Popen[bytes] | None, others: Collection[subprocess.Popen[bytes]]
) -> None:
    """End all components, the API server last.

    Workers tell the API server the result of their tasks, and try for a minute when it is gone.

    The scheduler waits for running tasks, and a task does not end at a SIGTERM. So tasks are
    killed, which every task here survives. Airflow notices it and tries them again when it is back.
    """
    for process in others:
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    while any(process.poll() is None for process in others) and time.monotonic() < deadline:
        kill_tasks()
        time.sleep(0.1)
    for process in others:
        if process.poll() is None:
            process.kill()
            process.wait()
    if server is None or server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(SERVER_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def kill_tasks() -> None:
    """Kill every task, with the processes that it started.

    A task is a process below this process. It leads a process group of its own.
    """
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) != os.getpgid(0):
                process.kill()


if __name__ == "__main__":
    sys.exit(main())
