"""Waiting for a run while Airflow's API goes away and comes back.

test_airflow.py shows that the real API answers like this.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from dojo.cli.app import build
from dojo.core.airflow_access import AirflowAccess
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import wall_now
from dojo.core.state.work_orders import WorkOrder, WorkOrders
from pipelines.dags.failure_notes import failure_note
from services.trainer import airflow as trigger
from services.trainer.airflow_client import AirflowClient, AirflowUnavailableError, RunState
from tests.support.servers import RedisServer, free_port

pytestmark = pytest.mark.integration

DAG, RUN = "retrain_fraud_detection", "manual__2026-11-21T03:30:45+00:00"


class ScriptedApi:
    """The part of Airflow's API that waiting asks, with one run of one task.

    A test can stop it and start it again on its port.
    """

    def __init__(self) -> None:
        self.port, self.state, self.refuses, self.paused = free_port(), "running", 0, False
        self.asked: list[str] = []  # method and path of what would change something
        self._server: http.server.ThreadingHTTPServer | None = None

    def start(self) -> None:
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                api.asked.append(f"PATCH {self.path}")
                api.paused = api.paused and "is_paused" not in self.path
                api.state = "failed" if "update_mask=state" in self.path else api.state
                self._answer(200, {})

            def do_POST(self) -> None:
                api.asked.append(f"POST {self.path}")
                (
                    self._answer(200, api.answer("/"))
                    if self.path.endswith("/dagRuns")
                    else self._answer(201, {"access_token": "token"})
                )

            def do_GET(self) -> None:
                if api.refuses:
                    api.refuses -= 1
                    return self._answer(503, {"detail": "starting"})
                return self._answer(200, api.answer(self.path))

            def _answer(self, status: int, body: Any) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, path: str) -> dict[str, Any]:
        if path.endswith(f"/dags/{DAG}"):
            return {"dag_id": DAG, "is_paused": self.paused}
        if "/xcomEntries/" in path:
            return {"value": {"outcome": "keep"}}
        if path.endswith("/taskInstances"):
            task = {
                "task_id": "compare",
                "state": self.state,
                "try_number": 1,
                "start_date": None,
                "end_date": None,
            }
            return {"task_instances": [{**task, "duration": 2.5, "pid": 1}]}
        run = {"dag_id": DAG, "dag_run_id": RUN, "state": self.state, "conf": {}}
        return {"dag_runs": [run]} if "dagRuns?" in path else run


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedApi]:
    monkeypatch.setattr(trigger, "POLL_SECONDS", 0.02)
    server = ScriptedApi()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(api: ScriptedApi) -> AirflowClient:
    return AirflowClient(
        AirflowAccess(f"http://127.0.0.1:{api.port}", "admin", "password"), timeout=5
    )


def run(client: AirflowClient) -> RunState:
    return client.run(DAG, RUN)


def test_an_outage_is_waited_out_and_said_once(
    api: ScriptedApi, client: AirflowClient, tmp_path: Path
) -> None:
    said: list[str] = []

    def progress(step: str, share: float) -> None:
        said.append(step)
        if step == "compare":
            api.stop()
        else:  # it is away, and comes back slowly after the run's end
            api.state, api.refuses = "success", 3
            api.start()

    answer = trigger.wait(client, run(client), progress, tmp_path / "note")
    assert (answer["outcome"], answer["model"], answer["seconds"]) == (
        "keep",
        "fraud_detection",
        {"compare": 2.5},
    )
    assert said[0] == "compare"
    (outage,) = said[1:]
    assert "does not answer" in outage
    assert "the run goes on" in outage


def test_an_outage_without_end_is_an_error(
    api: ScriptedApi, client: AirflowClient, tmp_path: Path
) -> None:
    begun = run(client)
    api.stop()
    said: list[str] = []
    with pytest.raises(AirflowUnavailableError, match="does not answer"):
        trigger.wait(
            client,
            begun,
            lambda step, share: said.append(step),
            tmp_path / "note",
            timedelta(seconds=0.3),
        )
    assert len(said) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("stale data: expected a transaction", "compare failed; stale data: expected"),
        ("", "compare failed; its log says why"),
    ],
)
def test_a_failed_run_is_told_in_its_tasks_own_words(
    api: ScriptedApi, client: AirflowClient, tmp_path: Path, words: str, expected: str
) -> None:
    note = failure_note(tmp_path, DAG, RUN)
    if words:
        note.parent.mkdir(parents=True)
        note.write_text(f"{words}\n")
    api.state = "failed"
    with pytest.raises(trigger.RetrainingFailedError, match=expected):
        trigger.wait(client, run(client), lambda step, share: None, note)


@pytest.fixture
def command(
    api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run `dojo retrain fraud_detection` with the scripted Airflow and no other server."""
    away = f"127.0.0.1:{free_port()}"
    for name, value in {
        "DOJO_AIRFLOW_URL": f"http://admin:password@127.0.0.1:{api.port}",
        "DOJO_HOME": str(tmp_path),
        "DOJO_REDIS_URL": f"redis://{away}/0",
        "DOJO_MLFLOW_URL": f"http://{away}",
    }.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(
        build(), ["retrain", "fraud_detection", *arguments]
    )


@pytest.fixture
def orders(
    command: Callable[..., Result], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """`dojo orders ... fraud_detection`, with the real Redis."""
    monkeypatch.setenv("DOJO_REDIS_URL", redis_server.url)
    return lambda name, *more: CliRunner().invoke(
        build(), ["orders", name, "fraud_detection", "--why", "it waits", *more]
    )


def test_nothing_is_begun_here_while_airflow_retrains(command: Callable[..., Result]) -> None:
    ran = command("--in-process", "--as-of", "2018-06-24", "--why", "a try")
    assert ran.exit_code == 1
    assert "fraud_detection: Airflow is retraining it: http://127.0.0.1" in ran.output
    assert f"/dags/{DAG}/runs/" in ran.output


def test_after_a_failure_the_run_is_named_and_nobody_is_sent_elsewhere(
    api: ScriptedApi, command: Callable[..., Result]
) -> None:
    api.state = "failed"
    ran = command("--why", "drift")
    assert ran.exit_code == 1
    assert "compare failed; its log says why" in ran.output
    assert (
        f"clear the failed task: http://127.0.0.1:{api.port}/dags/{DAG}/runs/manual" in ran.output
    )
    assert "--in-process" not in ran.output


def test_a_paused_dag_is_said_at_once_and_nothing_is_left_to_begin_later(
    api: ScriptedApi, command: Callable[..., Result]
) -> None:
    api.paused = True
    ran = command("--reason", "drift")
    assert ran.exit_code == 1
    assert f"{DAG} is paused in Airflow" in ran.output
    assert "dojo orders unpause fraud_detection --why" in ran.output
    assert "dojo retrain fraud_detection --in-process" in ran.output
    assert not [asked for asked in api.asked if "dagRuns" in asked]


def test_a_pause_during_a_run_is_said_once_with_the_way_out(
    api: ScriptedApi, client: AirflowClient, tmp_path: Path
) -> None:
    api.paused, said = True, []
    begun = run(client)
    looks = iter(range(5))

    def progress(step: str, share: float) -> None:
        said.append(step)

    def looked(dag_id: str) -> bool:
        api.state = "success" if next(looks) == 4 else "running"
        return True

    client.paused = looked  # type: ignore[method-assign]
    trigger.wait(client, begun, progress, tmp_path / "note")
    (words,) = [step for step in said if "paused" in step]
    assert "dojo orders unpause fraud_detection" in words


def test_a_retraining_that_waits_is_cancelled_with_its_order_and_then_one_here_is_possible(
    api: ScriptedApi,
    command: Callable[..., Result],
    orders: Callable[..., Result],
    redis_server: RedisServer,
) -> None:
    redis = Redis.from_url(redis_server.url)
    WorkOrders(redis).place(
        WorkOrder(
        id=RUN.replace(":", "-").replace("+", "-"),
        model="fraud_detection",
        kind="retrain",
        who="responder",
        why="w",
        world_time=wall_now(),
    )
    )  # fmt: skip
    api.state = "running"
    refused = orders("cancel")
    assert refused.exit_code == 1, "it runs"
    assert "its retraining runs in Airflow" in refused.output
    api.paused = True
    waits = command("--in-process", "--as-of", "2018-06-24", "--why", "x")
    assert "a retraining of it waits in Airflow" in waits.output
    assert "dojo orders cancel fraud_detection --why" in waits.output
    cancelled = orders("cancel", "--who", "mia")
    assert cancelled.exit_code == 0, cancelled.output
    assert "dojo retrain fraud_detection --in-process" in cancelled.output
    assert any(asked.startswith("PATCH") and "dagRuns" in asked for asked in api.asked)
    assert WorkOrders(redis).open() == []
    (ended,) = WorkOrders(redis).ended()
    assert (ended.state, ended.answer["error"]) == ("failed", "cancelled by mia: it waits")
    (entry,) = AuditTrail(redis).entries()
    assert (entry.kind, entry.who, entry.why) == ("retraining", "mia", "it waits")
    assert "Airflow" not in command("--in-process", "--as-of", "2018-06-24", "--why", "x").output, (
        "refused for other reasons here, not for Airflow's"
    )
    again = orders("cancel")
    assert (again.exit_code, "no retraining waits" in again.output) == (1, True)


def test_unpausing_is_one_command_and_in_the_audit_trail(
    api: ScriptedApi, orders: Callable[..., Result], redis_server: RedisServer
) -> None:
    api.paused = True
    assert f"{DAG} is unpaused" in orders("unpause", "--who", "mia").output
    assert not api.paused
    assert "already" in orders("unpause").output
    (entry,) = AuditTrail(Redis.from_url(redis_server.url)).entries()
    assert (entry.what, entry.who) == (f"unpaused {DAG} in Airflow", "mia")
