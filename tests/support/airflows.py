"""A real Airflow for tests, run as the stack runs it: the supervisor's row for it, on a free port, with a home of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import psutil

from dojo.core.airflow_access import AirflowAccess, airflow_access
from dojo.core.settings import Settings
from dojo.stack.paths import log_file
from dojo.stack.supervisor.child import Child
from dojo.stack.supervisor.identity import ProcessId
from dojo.stack.table import processes
from pipelines.dags.failure_notes import failure_note
from services.trainer.airflow_client import AirflowClient, RunState
from tests.support.servers import free_port, wait_until

# Wall time between questions: each costs the API server, which shares two cores with the tasks, some 20 ms.
POLL_SECONDS = 0.5


class AirflowServer:
    """Airflow over these settings. Make and start it on the main thread.

    Args:
        variables: DOJO_* variables: the home, where Redis and MLflow are, the specs.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.port = free_port()
        self.variables = {**variables, "DOJO_AIRFLOW_PORT": str(self.port)}
        self.settings = Settings(**{name.removeprefix("DOJO_").lower(): v for name, v in self.variables.items()})  # type: ignore[arg-type]
        spec = next(spec for spec in processes(self.settings) if spec.name == "airflow")
        self._spec = replace(
            spec, niceness=0
        )  # here nobody is served beside it, and other tests would leave it a tenth of a core
        self.child: Child | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that belongs to it: the shell's, with these settings instead of its own."""
        return {**{n: v for n, v in os.environ.items() if not n.startswith(("DOJO_", "AIRFLOW"))}, **self.variables}

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
        """Start it; it is healthy and has read these DAGs afterwards."""
        self.child = Child(self._spec, self.settings.home, self.environment)
        wait_until(self._healthy, 240, f"Airflow is healthy; its log: {self.log}", every=POLL_SECONDS)
        wait_until(lambda: set(dag_ids) <= set(self.client.dag_ids()), 60, f"{dag_ids} are read", every=POLL_SECONDS)

    def _healthy(self) -> bool:
        return self._spec.health.probe(2).healthy

    def stop(self) -> list[ProcessId]:
        """As the supervisor does. Returns what had to be killed."""
        return [] if self.child is None else self.child.end(self._spec.grace)

    def processes(self, title: str) -> list[psutil.Process]:
        """Its processes whose command line holds `title`: `api_server`, `airflow scheduler`, `LocalExecutor`, ..."""
        assert self.child is not None
        living = [member.process() for member in self.child.members()]
        return [process for process in living if process is not None and title in _command_line(process)]

    def kill_task(self, run: RunState, task_id: str, within: float) -> None:
        """kill -9 the process that runs a task, as soon as one does."""
        killed: list[int] = []

        def kill() -> bool:
            for task in self.client.tasks(run.dag_id, run.run_id):
                if task.task_id == task_id and task.state == "running" and task.pid and psutil.pid_exists(task.pid):
                    os.kill(task.pid, signal.SIGKILL)
                    killed.append(task.pid)
            return bool(killed)

        wait_until(kill, within, f"a process runs {task_id} of {run.run_id}", every=0.3)

    def finished(self, run: RunState, within: float) -> RunState:
        """The run once it has ended."""
        deadline = time.monotonic() + within
        while not (state := self.client.run(run.dag_id, run.run_id)).finished:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within:g} s: {run.run_id} ends; {self.client.tasks(run.dag_id, run.run_id)}")
            time.sleep(POLL_SECONDS)
        return state

    def failure_note(self, run: RunState) -> Path:
        """Where a failed task of the run leaves its words."""
        return failure_note(self.settings.home, run.dag_id, run.run_id)

    def states(self, run: RunState) -> dict[str, tuple[str | None, int]]:
        """task -> its state, and how often it was tried."""
        return {task.task_id: (task.state, task.tries) for task in self.client.tasks(run.dag_id, run.run_id)}


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
