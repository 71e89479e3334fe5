"""A real Airflow for tests, on a free port and with its own home.

It runs as in the stack, from the supervisor's row for it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from dojo.core.airflow_access import AirflowAccess, airflow_access
from dojo.core.settings import Settings
from dojo.stack.paths import log_file
from dojo.stack.supervisor.child import Child
from dojo.stack.supervisor.identity import ProcessId
from dojo.stack.supervisor.overrides import Override
from dojo.stack.table import processes
from pipelines.dags.failure_notes import failure_note
from services.trainer.airflow_client import AirflowClient, AirflowUnavailableError, RunState
from tests.support.servers import free_port, wait_until

# Wall time between questions. Each costs the API server some 20 ms, and it shares two cores with
# the tasks.
POLL_SECONDS = 0.5


class AirflowServer:
    """Airflow over these settings. Make and start it on the main thread.

    Args:
        variables: DOJO_* variables with the home, the addresses of Redis and MLflow, and the specs.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.port = free_port()
        self.variables = {**variables, "DOJO_AIRFLOW_PORT": str(self.port)}
        self.settings = Settings(
            **{name.removeprefix("DOJO_").lower(): v for name, v in self.variables.items()}
        )  # type: ignore[arg-type]
        spec = next(spec for spec in processes(self.settings) if spec.name == "airflow")
        # Niceness 0, because no service runs beside it. Other tests would leave it a tenth of a
        # core.
        self._spec = replace(spec, niceness=0)
        self.child: Child | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The shell's environment with these settings, for processes that belong to it."""
        return {
            **{n: v for n, v in os.environ.items() if not n.startswith(("DOJO_", "AIRFLOW"))},
            **self.variables,
        }

    @property
    def client(self) -> AirflowClient:
        return AirflowClient(self.access)

    @property
    def log(self) -> Path:
        return log_file(self.settings.home, "airflow")

    @property
    def access(self) -> AirflowAccess:
        access = airflow_access(self.settings)
        assert access is not None
        return access

    def start(self, dag_ids: Collection[str] = ()) -> None:
        """Start it and wait until it is healthy and has read these DAGs."""
        self.child = Child(self._spec, self.settings.home, self.environment, Override())
        wait_until(
            self._healthy, 240, f"Airflow is healthy; its log: {self.log}", every=POLL_SECONDS
        )
        wait_until(
            lambda: set(dag_ids) <= set(self.client.dag_ids()),
            60,
            f"{dag_ids} are read",
            every=POLL_SECONDS,
        )

    def _healthy(self) -> bool:
        return self._spec.health.probe(2).healthy

    def stop(self) -> list[ProcessId]:
        """Stop as the supervisor does. Returns the processes that had to be killed."""
        return [] if self.child is None else self.child.end(self._spec.grace)

    def processes(self, title: str) -> list[psutil.Process]:
        """Return its processes with `title` in the command line, such as `LocalExecutor`."""
        assert self.child is not None
        living = [member.process() for member in self.child.members()]
        return [
            process for process in living if process is not None and title in _command_line(process)
        ]

    def kill_task(self, run: RunState, task_id: str, within: float) -> None:
        """Kill -9 the process of a task, as soon as it runs."""
        killed: list[int] = []

        def kill() -> bool:
            with suppress(AirflowUnavailableError):  # on a busy machine an answer may be late
                for task in self.client.tasks(run.dag_id, run.run_id):
                    if (
                        task.task_id == task_id
                        and task.state == "running"
                        and task.pid
                        and psutil.pid_exists(task.pid)
                    ):
                        os.kill(task.pid, signal.SIGKILL)
                        killed.append(task.pid)
            return bool(killed)

        wait_until(kill, within, f"a process runs {task_id} of {run.run_id}", every=0.3)

    def finished(self, run: RunState, within: float) -> RunState:
        """Wait until the run has ended and return it."""
        deadline = time.monotonic() + within
        while True:
            with suppress(AirflowUnavailableError):  # on a busy machine an answer may be late
                if (state := self.client.run(run.dag_id, run.run_id)).finished:
                    return state
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not within {within:g} s: {run.run_id} ends;"
                    f" {self.client.tasks(run.dag_id, run.run_id)}"
                )
            time.sleep(POLL_SECONDS)

    def failure_note(self, run: RunState) -> Path:
        """Return the file with a failed task's words."""
        return failure_note(self.settings.home, run.dag_id, run.run_id)

    def states(self, run: RunState) -> dict[str, tuple[str | None, int]]:
        """Return task -> its state, and its number of tries."""
        return {
            task.task_id: (task.state, task.tries)
            for task in self.client.tasks(run.dag_id, run.run_id)
        }


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
