"""Retraining in a real Airflow: one server for the module, with a small shop's lake. Runs of three models go side by side, because a
task costs seconds to start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import yaml
from redis import Redis

from dojo.audit import AuditTrail
from dojo.clock import RedisWorldClock
from dojo.inbox import Inbox, Message
from dojo.registry import CHAMPION, ModelRegistry
from pipelines.airflow_client import AirflowClient, AirflowError, AirflowUnavailableError, RunExistsError, RunState
from tests.airflows import AirflowServer
from tests.payments import START, fill_lake, payments
from tests.servers import MlflowServer, RedisServer, Server, free_port, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

DAYS = 40
AS_OF = START + timedelta(days=DAYS)

KILLED, STUMBLING, STALE = MODELS = ("killed", "stumbling", "stale")
REASON = "scores drifted for customers abroad"

# A whole run, on two cores with others beside it, seconds.
PATIENCE = 300.0


@dataclass(frozen=True)
class Platform:
    """What the tests look at. `runs`: of each model, all asked for at the start."""

    airflow: AirflowServer
    redis: Redis
    registry: ModelRegistry
    runs: dict[str, RunState]

    def messages(self, model: str) -> list[Message]:
        return [message for message in Inbox(self.redis).newest(1000) if message.model == model]


def write_specs(directory: Path, names: tuple[str, ...]) -> Path:
    """The fraud model's contract under other names, scaled to a few weeks of a small shop."""
    directory.mkdir()
    spec = yaml.safe_load(Path("models/fraud_detection.yaml").read_text())
    spec["training"] |= {"window": "24d", "validation": "4d", "holdout": "6d", "minimum_rows": 1000, "label_rate": [0.01, 0.2]}
    spec["training"]["estimator"]["parameters"]["n_estimators"] = 40
    for name in names:
        (directory / f"{name}.yaml").write_text(yaml.safe_dump({**spec, "name": name, "owner": f"team-{name}"}))
    return directory


@pytest.fixture(scope="module")
def platform(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("airflow")
    home = directory / "home"
    fill_lake(home / "lake", payments(DAYS), AS_OF)
    redis_server = RedisServer(directory)
    redis_server.start()
    redis = Redis.from_url(redis_server.url)
    RedisWorldClock(redis).set(AS_OF, 0)  # paused: nothing is due
    airflow = AirflowServer(
        {
            "DOJO_HOME": str(home),
            "DOJO_MODELS_DIR": str(write_specs(directory / "models", MODELS)),
            "DOJO_REDIS_URL": redis_server.url,
            "DOJO_MLFLOW_URL": mlflow_server.url,
        }
    )
    # A job's directory cannot be made where a file is: a fault that might pass, and never does.
    (home / "training" / STUMBLING).mkdir(parents=True)
    (home / "training" / STUMBLING / "by-hand").touch()
    try:
        airflow.start({f"retrain_{model}" for model in MODELS})
        asked = {KILLED: None, STUMBLING: None, STALE: (AS_OF + timedelta(days=3)).isoformat()}
        runs = {
            model: airflow.client.trigger(
                f"retrain_{model}", {"as_of": as_of, "reason": REASON, "dry_run": False, "who": "ada"}, "by-hand"
            )
            for model, as_of in asked.items()
        }
        yield Platform(airflow, redis, ModelRegistry(mlflow_server.url), runs)
    finally:
        airflow.stop()
        redis_server.stop()


def test_a_task_killed_under_way_is_run_again_and_the_run_ends_in_one_version(platform: Platform) -> None:
    airflow, run = platform.airflow, platform.runs[KILLED]
    for step in ("train", "register"):
        airflow.kill_task(run, step, PATIENCE)
    assert airflow.finished(run, PATIENCE).state == "success", airflow.states(run)
    states = airflow.states(run)
    assert (states["train"], states["register"]) == (("success", 2), ("success", 2))
    assert {task: state for task, (state, _) in states.items() if state != "success"} == {
        "start_rollout": "skipped",  # a first version is champion at once
        "keep_champion": "skipped",
        "alert_regression": "skipped",
    }
    versions = platform.registry.versions(KILLED)
    champion = platform.registry.by_alias(KILLED, CHAMPION)
    assert [version.version for version in versions] == [champion.version if champion else None]


def test_the_reason_and_who_asked_are_in_the_run_and_in_the_audit_trail(platform: Platform) -> None:
    run = platform.airflow.finished(platform.runs[KILLED], PATIENCE)
    assert run.conf["reason"] == REASON
    entries = [entry for entry in AuditTrail(platform.redis).entries() if entry.model == KILLED]
    assert {"retraining", "gate", "alias"} <= {entry.kind for entry in entries}
    assert {(entry.who, entry.why) for entry in entries if entry.kind in ("retraining", "gate")} == {("ada", REASON)}


def test_only_a_few_words_go_from_task_to_task(platform: Platform) -> None:
    run = platform.airflow.finished(platform.runs[KILLED], PATIENCE)
    for task in ("collect", "validate", "build_dataset", "train", "evaluate", "compare", "register"):
        answer = platform.airflow.client.answer_of(run.dag_id, run.run_id, task)
        assert isinstance(answer, dict)
        assert 0 < len(str(answer)) < 4_000, task


def test_stale_data_fails_at_once_and_pages_the_owner(platform: Platform) -> None:
    run = platform.runs[STALE]
    assert platform.airflow.finished(run, PATIENCE).state == "failed"
    assert platform.airflow.states(run)["collect"] == ("failed", 1)
    wait_until(lambda: bool(platform.messages(STALE)), 60, "the owner is paged", every=0.25)
    (page,) = platform.messages(STALE)
    assert (page.to, page.urgency) == ("team-stale", "page")
    assert "stale data: expected a transaction" in page.text
    assert run.url in page.text
    assert platform.registry.versions(STALE) == []


def test_collection_that_keeps_failing_is_tried_four_times_then_pages(platform: Platform) -> None:
    run = platform.runs[STUMBLING]
    assert platform.airflow.finished(run, PATIENCE).state == "failed"
    states = platform.airflow.states(run)
    assert states.pop("collect") == ("failed", 4)
    assert {state for state, _ in states.values()} == {"upstream_failed"}
    wait_until(lambda: bool(platform.messages(STUMBLING)), 60, "the owner is paged", every=0.25)
    (page,) = platform.messages(STUMBLING)
    assert "collect: FileExistsError" in page.text


def test_what_is_due_in_world_time_is_run_once_however_much_was_missed(platform: Platform, tmp_path: Path) -> None:
    airflow, client = platform.airflow, platform.airflow.client
    dag = f"retrain_{STALE}"
    airflow.finished(platform.runs[STALE], PATIENCE)
    variables = {"DOJO_MODELS_DIR": str(write_specs(tmp_path / "models", (STALE,))), "DOJO_RETRAINER_PORT": str(free_port())}
    command = [sys.executable, "-m", "pipelines.retraining"]
    retrainer = Server("retrainer", command, tmp_path, {**airflow.variables, **variables})
    retrainer.start()
    try:
        wait_until(lambda: platform.redis.exists(f"dojo:retraining:{STALE}:last") == 1, 60, "the schedule counts from now")
        assert [run.run_id for run in client.runs(dag)] == ["by-hand"]
        now = AS_OF + timedelta(days=30)  # four weeks' runs were missed
        RedisWorldClock(platform.redis).set(now, 0)
        wait_until(lambda: len(client.runs(dag)) > 1, 60, "the retraining is asked for", every=0.25)
        newest = airflow.finished(client.runs(dag)[0], PATIENCE)
        assert (newest.conf["as_of"], newest.conf["who"]) == (now.isoformat(), "schedule")
        assert "7d" in newest.conf["reason"]
        assert len(client.runs(dag)) == 2
    finally:
        retrainer.stop()


def test_a_run_is_never_started_twice_and_what_is_wrong_is_said(platform: Platform) -> None:
    client = platform.airflow.client
    with pytest.raises(RunExistsError, match="409"):
        client.trigger(f"retrain_{STALE}", {}, "by-hand")
    with pytest.raises(AirflowError, match=r"dry_run|Invalid"):
        client.trigger(f"retrain_{STALE}", {"dry_run": "perhaps"})
    with pytest.raises(AirflowError, match=r"404.*dojo logs airflow"):
        client.trigger("retrain_nothing", {})
    wrong = AirflowClient(replace(platform.airflow.access, password="guessed"))
    with pytest.raises(AirflowError, match=r"refuses user admin.*dojo status"):
        wrong.import_errors()
    nobody = AirflowClient(replace(platform.airflow.access, url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(AirflowUnavailableError, match="does not answer"):
        nobody.import_errors()


def test_killed_it_comes_back_with_its_history_and_stopped_it_leaves_nothing(platform: Platform) -> None:
    airflow = platform.airflow
    assert airflow.child is not None
    assert airflow.child.id is not None
    parts = airflow.processes("airflow")
    assert len(parts) >= 6  # launcher, API server, scheduler with two workers, DAG processor
    psutil.Process(airflow.child.id.pid).kill()
    wait_until(lambda: airflow.child is not None and airflow.child.exit_code() is not None, 10, "the launcher is dead")
    airflow.child.end(grace=1)  # what the supervisor does then
    assert not [part for part in parts if part.is_running() and part.status() != psutil.STATUS_ZOMBIE]
    airflow.start()
    assert airflow.client.run(f"retrain_{KILLED}", "by-hand").state == "success"
    assert airflow.stop() == []  # nothing had to be killed
    assert airflow.processes("") == []
    password = (airflow.settings.airflow_home / "passwords.json").read_text().split('"')[3]
    assert password not in airflow.log.read_text()
