"""Retraining in a real Airflow: one server for the module, and a small shop's lake.

Runs of three models go side by side, because a task takes seconds to start. Only one run goes all
the way, the second retraining of its model. That model's first version is trained outside Airflow
while Airflow starts.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import msgspec
import psutil
import pytest
from redis import Redis

from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.versions import CHALLENGER, CHAMPION, ModelRegistry
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.freshness import read_freshness
from dojo.core.state.inbox import Inbox, Message
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.work_orders import Work, WorkOrder, WorkOrders
from pipelines.training.dataset.build import DATASET_FILE
from services.trainer import airflow as trigger
from services.trainer.airflow_client import (
    AirflowClient,
    AirflowError,
    AirflowUnavailableError,
    DagPausedError,
    RunExistsError,
    RunState,
)
from tests.integration.services.monitor.shifted_shop import LATER_AS_OF, fill, first_job, write_spec
from tests.support.airflows import AirflowServer
from tests.support.registries import sealed_registry
from tests.support.servers import MlflowServer, RedisServer, Server, free_port, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

AS_OF = LATER_AS_OF  # world time; the world is paused
TOO_LATE = AS_OF + timedelta(days=20)  # the lake ends long before

WINNING, STUMBLING, STALE = MODELS = ("winning", "stumbling", "stale")
FEATURES = "materialize_features"
REASON = "scores drifted for customers abroad"

# Wall seconds for a whole run, on two cores with other runs beside it.
PATIENCE = 300.0


@dataclass(frozen=True)
class Platform:
    """The tested platform.

    `runs`: the runs of each model and of the features, all started first.
    """

    airflow: AirflowServer
    redis: Redis
    registry: ModelRegistry
    runs: dict[str, RunState]

    def messages(self, model: str) -> list[Message]:
        return [message for message in Inbox(self.redis).newest(1000) if message.model == model]


def left_by_an_earlier_run(home: Path) -> Path:
    """Leave a data set of STALE, as a failed run does."""
    path = home / "training" / STALE / "failed-before" / DATASET_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def first_version(airflow: AirflowServer) -> subprocess.Popen[bytes]:
    """Start a process that trains WINNING's first version, before the shop's fraud changes."""
    command = [sys.executable, "-m", "services.trainer.run_job"]
    child = subprocess.Popen(
        command, env=airflow.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert child.stdin is not None
    child.stdin.write(msgspec.json.encode(first_job(WINNING)))
    child.stdin.close()
    return child


@pytest.fixture(scope="module")
def platform(
    mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("airflow")
    home = directory / "home"
    fill(home / "lake", MODELS)
    for model in MODELS:
        write_spec(directory / "models", model)
    redis_server = RedisServer(directory)
    redis_server.start()
    redis = Redis.from_url(redis_server.url)
    RedisWorldClock(redis).set(AS_OF, 0)  # paused: nothing is due
    airflow = AirflowServer(
        {
            "DOJO_HOME": str(home),
            "DOJO_MODELS_DIR": str(directory / "models"),
            "DOJO_REDIS_URL": redis_server.url,
            "DOJO_MLFLOW_URL": mlflow_server.url,
        }
    )
    # A file stands in the place of a job's directory. The fault might pass, but never does.
    (home / "training" / STUMBLING).mkdir(parents=True)
    (home / "training" / STUMBLING / "by-hand").touch()
    left_by_an_earlier_run(home).touch()
    child = first_version(airflow)
    try:
        airflow.start({f"retrain_{model}" for model in MODELS})
        assert child.wait(PATIENCE) == 0
        asked = {WINNING: None, STUMBLING: None, STALE: TOO_LATE.isoformat()}
        runs = {
            model: trigger.ask(
                airflow.client,
                model,
                {"as_of": as_of, "reason": REASON, "dry_run": False, "who": "ada"},
                "by-hand",
            )
            for model, as_of in asked.items()
        }
        runs[FEATURES] = airflow.client.trigger(FEATURES, {"reason": REASON}, "by-hand")
        yield Platform(airflow, redis, sealed_registry(mlflow_server.url), runs)
    finally:
        child.kill()
        airflow.stop()
        redis_server.stop()


def test_a_winner_whose_tasks_are_killed_under_way_is_one_version_in_its_rollout(
    platform: Platform,
) -> None:
    """The test asks for the run and waits for it as `dojo retrain` does."""
    airflow, run = platform.airflow, platform.runs[WINNING]
    for step in ("train", "register"):
        airflow.kill_task(run, step, PATIENCE)
    said: list[str] = []
    answer = trigger.wait(
        airflow.client, run, lambda step, share: said.append(step), airflow.failure_note(run)
    )
    assert (answer["verdict"], answer["outcome"]) == ("improved", "promote")
    assert (answer["version"], answer["stage"]) == ("2", "shadow")
    assert "register" in said
    assert answer["seconds"].keys() >= {"collect", "train", "compare", "start_rollout"}
    states = airflow.states(run)
    assert (states["train"], states["register"]) == (("success", 2), ("success", 2))
    assert {task: state for task, (state, _) in states.items() if state != "success"} == {
        "keep_champion": "skipped",
        "alert_regression": "skipped",
    }
    registry = platform.registry
    challenger, champion = (
        registry.by_alias(WINNING, CHALLENGER),
        registry.by_alias(WINNING, CHAMPION),
    )
    assert challenger is not None
    assert champion is not None
    assert (challenger.version, challenger.tags.gate_verdict, champion.version) == (
        "2",
        "improved",
        "1",
    )
    assert len(registry.versions(WINNING)) == 2
    rollout = Rollouts(platform.redis).get(WINNING)
    assert rollout is not None
    assert (rollout.id, rollout.version, rollout.champion, rollout.stage) == (
        answer["rollout"],
        "2",
        "1",
        Stage.SHADOW,
    )


def test_features_are_brought_online_by_hand(platform: Platform) -> None:
    run = platform.airflow.finished(platform.runs[FEATURES], PATIENCE)
    assert run.state == "success"
    done = platform.airflow.client.answer_of(FEATURES, run.run_id, "materialize")
    assert done["rows"] > 0
    assert done["as_of"] == AS_OF.isoformat()
    fresh = read_freshness(platform.redis)
    assert fresh
    assert all(view.state(AS_OF) == "ok" for view in fresh.values())


def test_the_reason_and_who_asked_are_in_the_run_and_in_the_audit_trail(platform: Platform) -> None:
    run = platform.airflow.finished(platform.runs[WINNING], PATIENCE)
    assert run.conf["reason"] == REASON
    entries = [entry for entry in AuditTrail(platform.redis).entries() if entry.model == WINNING]
    assert {"retraining", "gate", "alias"} <= {entry.kind for entry in entries}
    asked = [
        entry
        for entry in entries
        if entry.kind in ("retraining", "gate") and ":by-hand:" in entry.entry_id
    ]
    assert {(entry.who, entry.why) for entry in asked} == {("ada", REASON)}


def test_only_a_few_words_go_from_task_to_task(platform: Platform) -> None:
    run = platform.airflow.finished(platform.runs[WINNING], PATIENCE)
    for task in (
        "collect",
        "validate",
        "build_dataset",
        "train",
        "evaluate",
        "compare",
        "register",
    ):
        answer = platform.airflow.client.answer_of(run.dag_id, run.run_id, task)
        assert isinstance(answer, dict)
        assert 0 < len(str(answer)) < 4_000, task


def test_stale_data_fails_at_once_and_pages_the_owner(platform: Platform) -> None:
    run = platform.runs[STALE]
    assert platform.airflow.finished(run, PATIENCE).state == "failed"
    assert platform.airflow.states(run)["collect"] == ("failed", 1)
    wait_until(lambda: bool(platform.messages(STALE)), 60, "the owner is paged", every=0.25)
    (page,) = platform.messages(STALE)
    assert (page.to, page.urgency) == ("payments-risk", "page")
    assert "stale data: expected transactions" in page.text
    with pytest.raises(trigger.RetrainingFailedError, match="collect failed; collect: stale data"):
        trigger.wait(
            platform.airflow.client,
            run,
            lambda step, share: None,
            platform.airflow.failure_note(run),
        )
    assert run.url in page.text
    assert not left_by_an_earlier_run(platform.airflow.settings.home).exists()
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


def test_what_is_due_in_world_time_is_run_once_and_an_order_is_followed_to_its_end(
    platform: Platform, tmp_path: Path
) -> None:
    """Four weekly runs were missed."""
    airflow, client = platform.airflow, platform.airflow.client
    dag = f"retrain_{STALE}"
    airflow.finished(platform.runs[STALE], PATIENCE)
    write_spec(tmp_path / "models", STALE)
    variables = {"DOJO_MODELS_DIR": str(tmp_path / "models"), "DOJO_TRAINER_PORT": str(free_port())}
    command = [sys.executable, "-m", "services.trainer"]
    trainer = Server("trainer", command, tmp_path, {**airflow.variables, **variables})
    trainer.start()
    try:
        wait_until(
            lambda: platform.redis.exists(f"dojo:retraining:{STALE}:last") == 1,
            60,
            "the schedule counts from now",
        )
        assert [run.run_id for run in client.runs(dag)] == ["by-hand"]
        now = AS_OF + timedelta(days=30)
        RedisWorldClock(platform.redis).set(now, 0)
        wait_until(lambda: len(client.runs(dag)) > 1, 60, "the retraining is asked for", every=0.25)
        newest = airflow.finished(client.runs(dag)[0], PATIENCE)
        assert (newest.conf["as_of"], newest.conf["who"]) == (now.isoformat(), "schedule")
        assert "7d" in newest.conf["reason"]
        assert len(client.runs(dag)) == 2
        orders = WorkOrders(platform.redis)
        orders.place(
            WorkOrder(
                id="ordered",
                model=STALE,
                kind="retrain",
                who="responder",
                why="why",
                world_time=now,
            )
        )

        def ended() -> Work | None:
            work = orders.get("ordered")
            return work if work and work.ended else None

        wait_until(lambda: ended() is not None, PATIENCE, "the order has ended", every=0.25)
        work = ended()
        assert work is not None
        assert work.state == "failed"
        assert "stale data: expected transactions" in work.answer["error"]
        run = client.run(dag, "ordered")
        assert (run.state, run.conf["who"], run.conf["reason"]) == ("failed", "responder", "why")
    finally:
        trainer.stop()


def test_a_run_is_never_started_twice_and_what_is_wrong_is_said(platform: Platform) -> None:
    client = platform.airflow.client
    with pytest.raises(RunExistsError, match="409"):
        client.trigger(f"retrain_{STALE}", {}, "by-hand")
    with pytest.raises(AirflowError, match=r"dry_run|Invalid"):
        client.trigger(f"retrain_{STALE}", {"dry_run": "perhaps"})
    with pytest.raises(AirflowError, match=r"404.*dojo logs airflow"):
        client.trigger("retrain_nothing", {})
    access = platform.airflow.access
    wrong = AirflowClient(replace(access, given="guessed"))
    with pytest.raises(AirflowError, match=r"refuses user admin.*dojo status"):
        wrong.import_errors()
    unreachable = AirflowClient(replace(access, url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(AirflowUnavailableError, match="does not answer"):
        unreachable.import_errors()


def test_a_paused_dag_takes_no_run_and_a_run_that_waits_is_given_up(platform: Platform) -> None:
    client, dag = platform.airflow.client, f"retrain_{STALE}"
    platform.airflow.finished(platform.runs[STALE], PATIENCE)
    before = len(client.runs(dag))
    client._ask("PATCH", f"/dags/{dag}?update_mask=is_paused", {"is_paused": True})
    assert client.paused(dag)
    with pytest.raises(DagPausedError, match=f"{dag} is paused in Airflow"):
        client.trigger(
            dag, {"as_of": None, "reason": "a try", "who": "tests", "dry_run": True}, "paused"
        )
    assert len(client.runs(dag)) == before
    client._ask(
        "POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "conf": {}, "dag_run_id": "waiting"}
    )
    waiting = client.run(dag, "waiting")
    assert (waiting.waits, waiting.paused) == (True, True)
    client.give_up(dag, "waiting")
    client.unpause(dag)
    ended = client.run(dag, "waiting")
    assert (ended.state, ended.waits, client.paused(dag)) == ("failed", False, False)
    assert {task.pid for task in client.tasks(dag, "waiting")} <= {None}, "no process ran any of it"


def test_killed_it_comes_back_with_its_history_and_stopped_it_leaves_nothing(
    platform: Platform,
) -> None:
    airflow = platform.airflow
    assert airflow.child is not None
    assert airflow.child.id is not None
    parts = airflow.processes("airflow")
    assert len(parts) >= 6  # launcher, API server, scheduler with two workers, DAG processor
    psutil.Process(airflow.child.id.pid).kill()
    wait_until(
        lambda: airflow.child is not None and airflow.child.exit_code() is not None,
        10,
        "the launcher is dead",
    )
    airflow.child.end(grace=1)  # as the supervisor does then
    assert not [
        part for part in parts if part.is_running() and part.status() != psutil.STATUS_ZOMBIE
    ]
    airflow.start()
    assert airflow.client.run(f"retrain_{WINNING}", "by-hand").state == "success"
    assert airflow.stop() == []  # no process needed a kill
    assert airflow.processes("") == []
    password = (airflow.settings.airflow_home / "passwords.json").read_text().split('"')[3]
    assert password not in airflow.log.read_text()
