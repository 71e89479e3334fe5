"""Runs Airflow's components until SIGTERM, and ends when one of them does: whoever supervises this starts them all anew."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from dojo.processes import stop_on_signal
from dojo.settings import SettingsError, load_settings
from dojo.telemetry import configure_logging
from pipelines.airflow_server.home import is_migrated, mark_migrated, prepare

# No triggerer: no task here waits in one. The API server shows a task's log from the directory they share, so the scheduler need not serve it.
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}

# From SIGTERM to SIGKILL, seconds; below the supervisor's own patience with this process. The scheduler waits for running tasks, which
# end at their SIGTERM.
GRACE_SECONDS = 12.0

log = structlog.get_logger()


def main() -> int:
    try:
        settings = load_settings()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is no logging yet
        return 2
    configure_logging("airflow", settings.log_level)
    stop = stop_on_signal()
    home = prepare(settings)
    environment = component_environment(os.environ, home)
    if not is_migrated(home) and (code := _migrate(home, environment, stop)) != 0:
        return code
    return _run(environment, stop)


def component_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """A shell's own AIRFLOW__* variables would come before the home's configuration: they are another Airflow's."""
    ours = {name: value for name, value in environment.items() if not name.startswith(("AIRFLOW_", "_AIRFLOW_"))}
    return {**ours, "AIRFLOW_HOME": str(home)}


def _migrate(home: Path, environment: Mapping[str, str], stop: threading.Event) -> int:
    log.info("making the database", home=str(home))
    migration = subprocess.Popen(_command("db", "migrate"), env=environment)
    while migration.poll() is None and not stop.wait(0.05):
        pass
    if stop.is_set():
        _end([migration])
        return 0
    if migration.returncode == 0:
        mark_migrated(home)
    return migration.returncode


def _run(environment: Mapping[str, str], stop: threading.Event) -> int:
    running = {name: subprocess.Popen(_command(*arguments), env=environment) for name, arguments in COMPONENTS.items()}
    log.info("started", **{name: process.pid for name, process in running.items()})
    try:
        while not stop.wait(0.2):
            for name, process in running.items():
                if (code := process.poll()) is not None:
                    log.error("component died", name=name, exit_code=code)
                    return 1
        return 0
    finally:
        _end(list(running.values()))


def _command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "airflow", *arguments)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
