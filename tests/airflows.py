"""A real Airflow for tests: `python -m pipelines.airflow_server` on a free port, with a home of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from pathlib import Path

import psutil

from dojo.airflow_access import airflow_access
from dojo.settings import Settings
from dojo.supervisor.health import AirflowHealth
from pipelines.airflow_client import AirflowClient, RunState
from tests.servers import Server, free_port, wait_until


class AirflowServer(Server):
    """Airflow over these DOJO_* variables. In a session of its own, as under the supervisor, so that nothing of it is left behind.

    Args:
        environment: DOJO_* variables; the ports and the home among them.
    """

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DOJO_", "AIRFLOW"))}
        self.environment = {**environment, "DOJO_AIRFLOW_PORT": str(self.port), "PYTHONUNBUFFERED": "1"}
        self.settings = Settings(
            **{name.removeprefix("DOJO_").lower(): v for name, v in self.environment.items() if name.startswith("DOJO_")}  # type: ignore[arg-type]
        )
        # `env -i`: a DOJO_* variable of the shell is not this Airflow's.
        pairs = [f"{name}={value}" for name, value in {**inherited, **self.environment}.items()]
        super().__init__(
            "airflow", ["env", "-i", *pairs, "setsid", "--wait", sys.executable, "-m", "pipelines.airflow_server"], directory
        )

    @property
    def client(self) -> AirflowClient:
        access = airflow_access(self.settings)
        assert access is not None
        return AirflowClient(access)

    @property
    def healthy(self) -> bool:
        return AirflowHealth("127.0.0.1", self.port).probe(2).healthy

    def start(self) -> None:
        super().start()
        wait_until(lambda: self.healthy, 180, f"Airflow is healthy; its log: {self.log}", every=0.25)

    def processes(self, title: str) -> list[psutil.Process]:
        """Its processes whose command line holds `title`: `api_server`, `scheduler`, `worker`, ..."""
        assert self.process is not None
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if title in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def finished(self, run: RunState, within: float) -> RunState:
        """The run once it has ended."""
        deadline = time.monotonic() + within
        while not (state := self.client.run(run.dag_id, run.run_id)).finished:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within:g} s: {run.run_id} ends; {self.client.tasks(run.dag_id, run.run_id)}")
            time.sleep(0.25)
        return state

    def reached(self, run: RunState, task_id: str, states: Collection[str], within: float) -> None:
        def there() -> bool:
            return any(t.task_id == task_id and t.state in states for t in self.client.tasks(run.dag_id, run.run_id))

        wait_until(there, within, f"{task_id} of {run.run_id} is {' or '.join(states)}", every=0.1)
