"""The part of Airflow's REST API (v2) that the platform uses. Standard library only."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from dojo.core.airflow_access import AirflowAccess

# Answers take milliseconds. They take seconds while the stack starts on two busy cores.
TIMEOUT_SECONDS = 20.0

FINISHED_RUN = frozenset({"success", "failed"})


class AirflowError(RuntimeError):
    """Airflow refused a request. The message states the finding and the next step."""


class AirflowUnavailableError(AirflowError):
    """Airflow does not answer. The same call may work later."""


class RunExistsError(AirflowError):
    """A run of this id exists already."""


class DagPausedError(AirflowError):
    """The DAG is paused: what is asked of it would wait until it is unpaused."""

    def __init__(self, dag_id: str) -> None:
        super().__init__(
            f"{dag_id} is paused in Airflow: no task of it begins until it is unpaused"
        )


@dataclass(frozen=True, slots=True)
class RunState:
    """One run of a DAG.

    Attributes:
        state: queued, running, success or failed.
        url: Address of the run in Airflow's UI.
        paused: Whether its DAG was paused when the client asked about this run alone. No further
            task begins then.
    """

    dag_id: str
    run_id: str
    state: str
    conf: Mapping[str, Any]
    url: str
    paused: bool = False

    @property
    def finished(self) -> bool:
        return self.state in FINISHED_RUN

    @property
    def waits(self) -> bool:
        """Whether nothing of it runs: it is behind another one, or its DAG is paused."""
        return not self.finished and (self.paused or self.state == "queued")


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task of a run.

    Attributes:
        state: None before it is scheduled.
        tries: Tries begun so far.
        seconds: Wall time of the latest try.
        pid: Process of the latest try, on its worker's machine.
    """

    task_id: str
    state: str | None
    tries: int
    started: datetime | None
    ended: datetime | None
    seconds: float | None
    pid: int | None


class AirflowClient:
    """A client with the user of `access`. It fetches a token when needed and after it expired.

    Every method raises AirflowUnavailableError without an answer, and AirflowError for a refusal.
    """

    def __init__(self, access: AirflowAccess, timeout: float = TIMEOUT_SECONDS) -> None:
        self._access = access
        self._timeout = timeout
        self._token = ""

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any], run_id: str | None = None, note: str = ""
    ) -> RunState:
        """Start a run. A repeated `run_id` raises RunExistsError and does not start another run.

        Raises:
            DagPausedError: No run was requested, so none begins at the unpausing.
        """
        if self.paused(dag_id):
            raise DagPausedError(dag_id)
        # Without a logical date, because these are unique per DAG. A rebuilt world has the same
        # dates again.
        body = {"logical_date": None, "conf": dict(conf), "note": note or None}
        if run_id is not None:
            body["dag_run_id"] = run_id
        return self._run(self._ask("POST", f"/dags/{quote(dag_id)}/dagRuns", body))

    def run(self, dag_id: str, run_id: str) -> RunState:
        found = self._run(
            self._ask("GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}")
        )
        return found if found.finished else replace(found, paused=self.paused(dag_id))

    def paused(self, dag_id: str) -> bool:
        return bool(self._ask("GET", f"/dags/{quote(dag_id)}").get("is_paused"))

    def unpause(self, dag_id: str) -> None:
        self._ask("PATCH", f"/dags/{quote(dag_id)}?update_mask=is_paused", {"is_paused": False})

    def give_up(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed: it begins no more."""
        self._ask(
            "PATCH",
            f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}?update_mask=state",
            {"state": "failed"},
        )

    def runs(self, dag_id: str, limit: int = 20) -> list[RunState]:
        """Return the newest runs, newest first."""
        query = urlencode({"limit": limit, "order_by": "-run_after"})
        return [
            self._run(run)
            for run in self._ask("GET", f"/dags/{quote(dag_id)}/dagRuns?{query}")["dag_runs"]
        ]

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Return the run's tasks in no particular order."""
        answer = self._ask(
            "GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        )
        return [
            TaskState(
                task["task_id"],
                task["state"],
                task["try_number"],
                _moment(task["start_date"]),
                _moment(task["end_date"]),
                task["duration"],
                task["pid"],
            )
            for task in answer["task_instances"]
        ]

    def answer_of(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return the answer of a successful task (its XCom)."""
        run = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
        path = f"{run}/taskInstances/{quote(task_id)}/xcomEntries/return_value?deserialize=true"
        return self._ask("GET", path)["value"]

    def dag_ids(self) -> list[str]:
        """Return the DAGs that Airflow has read so far."""
        return [dag["dag_id"] for dag in self._ask("GET", "/dags?limit=100")["dags"]]

    def import_errors(self) -> list[str]:
        """Return the unreadable DAG files, each with the error."""
        found = self._ask("GET", "/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace']}" for error in found]

    def _run(self, run: Mapping[str, Any]) -> RunState:
        url = f"{self._access.url}/dags/{run['dag_id']}/runs/{quote(run['dag_run_id'], safe='')}"
        return RunState(run["dag_id"], run["dag_run_id"], run["state"], run["conf"] or {}, url)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        if not self._token:
            self._log_in()
        status, answer = self._exchange(method, f"/api/v2{path}", body)
        if status == 401:  # a token lives for a day
            self._log_in()
            status, answer = self._exchange(method, f"/api/v2{path}", body)
        if status >= 400:
            self._refuse(status, path, answer)
        return answer

    def _log_in(self) -> None:
        credentials = {"username": self._access.user, "password": self._access.password}
        status, answer = self._exchange("POST", "/auth/token", credentials)
        if status >= 500:  # Airflow is starting
            self._refuse(status, "/auth/token", answer)
        if status not in (200, 201):
            raise AirflowError(
                f"Airflow at {self._access.url} refuses user {self._access.user} ({status}): "
                "dojo status shows the embedded one's password, DOJO_AIRFLOW_URL holds another's"
            )
        self._token = answer["access_token"]

    def _refuse(self, status: int, path: str, answer: Any) -> None:
        said = answer.get("detail", answer) if isinstance(answer, dict) else answer
        message = f"Airflow refused {path} ({status}): {said}"
        if status == 409:
            raise RunExistsError(message)
        if status >= 500:
            raise AirflowUnavailableError(f"{message}; dojo logs airflow")
        if status == 404 and path.startswith("/dags/"):
            raise AirflowError(
                f"{message}. A new DAG is there within half a minute; dojo logs airflow shows why"
                " one is not"
            )
        raise AirflowError(message)

    def _exchange(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        address = urlsplit(self._access.url)
        kind = (
            http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(address.netloc, timeout=self._timeout)
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(
                method,
                f"{address.path}{path}",
                None if body is None else msgspec.json.encode(body),
                headers,
            )
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise AirflowUnavailableError(
                f"Airflow at {self._access.url} does not answer ({error or type(error).__name__}):"
                " is it running? dojo status"
            ) from error
        finally:
            connection.close()
        try:
            return answer.status, msgspec.json.decode(content) if content else None
        except msgspec.DecodeError:
            return answer.status, content[:500].decode(errors="replace")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
