"""The trainer executes work orders in a shop whose fraud changed on day 30.

Process, MLflow and Redis are real.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis

from dojo.core.lake import Lake
from dojo.core.registry.versions import ModelRegistry
from dojo.core.settings import Settings, load_settings
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.work_orders import NO_DEADLINE, Kind, Work, WorkOrder, WorkOrders
from dojo.core.tasks.specs import LoadedSpecs, load_spec
from pipelines.champion_check.evaluate import evaluate_champion, verdict_of
from pipelines.release.artefacts import dump_spec
from pipelines.retraining import run_retraining
from pipelines.training.errors import RetrainingRunningError
from pipelines.training.schedule import ScheduleStore
from services.trainer import order_executor as work
from services.trainer.airflow_client import (
    AirflowUnavailableError,
    DagPausedError,
    RunExistsError,
    RunState,
    TaskState,
)
from services.trainer.child import ChildKilledError, Ended
from services.trainer.order_executor import MAX_ATTEMPTS, AskedOrder, Executor
from services.trainer.run_order import WrongOrderError, alone, execute
from tests.integration.services.monitor.shifted_shop import (
    FIRST_AS_OF,
    LATER_AS_OF,
    SHIFT,
    fill,
    first_job,
    settings_for,
    write_spec,
)
from tests.support.payments import START, small_spec
from tests.support.servers import MlflowServer, RedisServer, Server, free_port, wait_until

pytestmark = pytest.mark.integration

MODEL = "ordered"
NOW = LATER_AS_OF


def order(
    name: str, kind: Kind, at: datetime = NOW, model: str = MODEL, **parameters: Any
) -> WorkOrder:
    return WorkOrder(
        id=name,
        model=model,
        kind=kind,
        who="responder",
        why="severe performance",
        world_time=at,
        parameters=parameters,
    )


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, mlflow_server: MlflowServer
) -> Settings:
    """Make a champion trained before the shift."""
    home = tmp_path_factory.mktemp("home")
    fill(home / "lake")
    settings = settings_for(home, redis_url, mlflow_server.url)
    spec = write_spec(settings.models_dir, MODEL)
    # A holdout of six days in this shop has 48 positives.
    performance = spec.drift.performance.model_copy(update={"minimum_positives": 20})
    spec = spec.model_copy(
        update={"drift": spec.drift.model_copy(update={"performance": performance})}
    )
    (settings.models_dir / f"{MODEL}.yaml").write_text(dump_spec(spec))
    run_retraining(first_job(MODEL), settings)
    return settings


@pytest.fixture(scope="module")
def trainer(
    settings: Settings, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    RedisWorldClock(Redis.from_url(redis_url)).set(NOW, speed=0)
    ScheduleStore(Redis.from_url(redis_url)).began(MODEL, NOW)  # no scheduled run is due
    environment = {
        "DOJO_HOME": str(settings.home),
        "DOJO_MODELS_DIR": str(settings.models_dir),
        "DOJO_REDIS_URL": redis_url,
        "DOJO_MLFLOW_URL": settings.mlflow,
        "DOJO_TRAINER_PORT": str(free_port()),
        "DOJO_WITHOUT": "airflow",
    }
    server = Server(
        "trainer",
        [sys.executable, "-m", "services.trainer"],
        tmp_path_factory.mktemp("log"),
        {**os.environ, **environment},
    )
    server.port = int(environment["DOJO_TRAINER_PORT"])  # type: ignore[attr-defined]
    server.start()
    yield server
    server.stop()


def ended(orders: WorkOrders, order_id: str, server: Server, within: float = 240) -> Work:
    def has_ended() -> bool:
        found = orders.get(order_id)
        return found is not None and found.ended

    wait_until(
        has_ended,
        within,
        f"order {order_id} has ended; the trainer's log ends:\n{server.tail()}",
        every=0.2,
    )
    found = orders.get(order_id)
    assert found is not None
    return found


@pytest.mark.timeout(600)  # five processes start here, each importing MLflow and Feast
def test_the_process_evaluates_then_retrains_and_says_how_both_ended(
    trainer: Server, settings: Settings, redis_url: str
) -> None:
    """Killed in the middle of the evaluation, the process goes on with the same order."""
    redis = Redis.from_url(redis_url)
    orders = WorkOrders(redis)
    orders.place(
        order("evaluate-1", "evaluate", since=(START + SHIFT + timedelta(days=8)).isoformat())
    )
    wait_until(
        lambda: bool(orders.open() and orders.open()[0].state == "running"), 90, trainer.tail()
    )
    trainer.kill()
    trainer.start()
    evaluated = ended(orders, "evaluate-1", trainer)
    assert (evaluated.state, evaluated.attempts) == ("done", 2), evaluated.answer
    found = evaluated.answer
    assert (found["verdict"], found["degraded"], found["version"]) == ("degraded", True, "1")
    assert found["relative_loss"] > found["low"] > 0.1
    assert found["support"] >= 20
    assert found["metric"] == "pr_auc"
    assert found["comparable"] == pytest.approx(found["promised"] * (1 - found["relative_loss"]))
    assert found["start"] == (NOW - timedelta(days=6)).isoformat().replace(
        "+00:00", "Z"
    )  # no longer than a holdout
    assert [left.name for left in (settings.home / "orders").iterdir()] == ["running.lock"]

    orders.place(order("retrain-1", "retrain"))
    retrained = ended(orders, "retrain-1", trainer)
    assert retrained.state == "done", retrained.answer
    assert (
        retrained.answer["outcome"],
        retrained.answer["version"],
        retrained.answer["stage"],
    ) == ("promote", "2", "shadow")
    began = AuditTrail(redis).find(f"{MODEL}:retrain-1:started")
    assert began is not None
    assert (began.who, began.why) == ("responder", "severe performance")
    with urllib.request.urlopen(f"http://127.0.0.1:{trainer.port}/metrics", timeout=5) as answer:
        assert (
            f'dojo_trainer_orders_total{{model="{MODEL}",outcome="done",'
            f'task="retrain"}} 1.0'.encode()
            in answer.read()
        )


@pytest.fixture(scope="module")
def registry(settings: Settings) -> ModelRegistry:
    return ModelRegistry.of(settings)


def freshest(
    settings: Settings,
    registry: ModelRegistry,
    tmp_path: Path,
    as_of: datetime,
    since: datetime | None,
) -> Any:
    spec = load_spec(settings.models_dir / f"{MODEL}.yaml")
    # These tests need the first version as champion, and an earlier test may have changed it.
    champion = registry.get(MODEL, "1")
    registry.set_alias(MODEL, "champion", champion.version)
    return evaluate_champion(spec, Lake(settings.lake_dir), registry, as_of, since, tmp_path)


def test_a_champion_whose_world_has_not_changed_is_not_degraded(
    settings: Settings, registry: ModelRegistry, tmp_path: Path
) -> None:
    """The test runs six days after the training.

    The span includes the champion's holdout, but no request on which it was fitted.
    """
    found = freshest(settings, registry, tmp_path, START + SHIFT, None)
    assert (found.verdict, found.version) == ("ok", "1")
    assert found.start >= FIRST_AS_OF - timedelta(days=7 + 6)
    assert found.relative_loss < 0.1
    assert found.end == START + SHIFT


def test_labels_that_have_not_come_are_no_verdict(
    settings: Settings, registry: ModelRegistry, tmp_path: Path
) -> None:
    """Labels take two days in this shop.

    A third of three days' payments has one, with fewer than twenty positives.
    """
    found = freshest(settings, registry, tmp_path, START + SHIFT + timedelta(days=3), START + SHIFT)
    assert (found.verdict, found.relative_loss) == ("insufficient_data", None)
    assert found.labelled_share == pytest.approx(1 / 3, abs=0.08)
    assert "20 are needed" in found.reason


def test_a_large_loss_that_may_be_chance_is_neither_ok_nor_degraded() -> None:
    assert [
        verdict_of(*figures, allowed=0.1)
        for figures in ((0.09, 0.05), (0.5, 0.01), (0.5, -0.01), (-0.3, -0.5))
    ] == [
        "ok",
        "degraded",
        "insufficient_data",
        "ok",
    ]


# Tests of the executor itself, with a scripted child and a scripted Airflow.


class Airflow:
    """Answers as Airflow's API does. The test sets its answers."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.state, self.away, self.paused = "running", False, False
        self.given_up: list[str] = []

    def give_up(self, dag_id: str, run_id: str) -> None:
        self.given_up.append(run_id)

    def trigger(self, dag_id: str, conf: dict[str, Any], run_id: str, note: str = "") -> RunState:
        if any(conf == known for known in self.asked):
            raise RunExistsError("409")
        if self.paused:
            raise DagPausedError(dag_id)
        self.asked.append(dict(conf))
        return self.run(dag_id, run_id)

    def run(self, dag_id: str, run_id: str) -> RunState:
        if self.away:
            raise AirflowUnavailableError("Airflow does not answer")
        return RunState(dag_id, run_id, self.state, {}, "http://airflow/run", self.paused)

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        return [
            TaskState("compare", "success", 1, None, None, 1.0, None),
            TaskState("train", "failed", 1, None, None, 1.0, None),
        ]

    def answer_of(self, dag_id: str, run_id: str, task_id: str) -> Any:
        return {"outcome": "keep", "gain": 0.001}


class Children:
    def __init__(self) -> None:
        self.run: list[tuple[str, str]] = []
        self.ends: list[Ended | Exception] = []

    def __call__(self, module: str, content: bytes, what: str, stop: threading.Event) -> Ended:
        self.run.append((module, msgspec.json.decode(content).get("key", "")))
        end = self.ends.pop(0) if self.ends else Ended("done", {"outcome": "promote"})
        if isinstance(end, Exception):
            raise end
        return end


class Shop:
    def __init__(self, url: str, tmp_path: Path, airflow: Airflow | None = None) -> None:
        self.orders, self.children, self.airflow = (
            WorkOrders(Redis.from_url(url)),
            Children(),
            airflow,
        )
        self.home, self.deadline = tmp_path, NO_DEADLINE
        self.start()

    def start(self) -> None:
        """Start a new trainer."""
        specs = LoadedSpecs({MODEL: small_spec(MODEL)}, {"broken": "models/broken.yaml:3: wrong"})
        self.executor = Executor(
            self.orders,
            specs,
            lambda: NOW,
            self.home,
            self.airflow,
            self.children,
            self.deadline,  # type: ignore[arg-type]
        )

    def look(self) -> str:
        return self.executor.look(threading.Event())


def test_airflows_run_is_followed_without_waiting_and_asked_for_once(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    airflow = Airflow()
    shop = Shop(redis_server.url, tmp_path, airflow)
    shop.orders.place(order("r1", "retrain"))
    shop.orders.place(order("e1", "evaluate"))
    assert "r1 runs in Airflow" in shop.look()
    assert shop.children.run == [
        ("services.trainer.run_order", "")
    ]  # the evaluation did not wait for it
    shop.start()  # after a kill
    airflow.away = True
    assert "does not answer" in shop.look()
    airflow.away, airflow.state = False, "success"
    shop.look()
    found = shop.orders.get("r1")
    assert found is not None
    assert (found.state, found.answer["outcome"], found.answer["url"]) == (
        "done",
        "keep",
        "http://airflow/run",
    )
    assert [asked["who"] for asked in airflow.asked] == ["responder"]
    assert airflow.asked[0]["reason"] == "severe performance"


def test_a_run_that_fails_in_airflow_is_a_failed_order_with_its_words(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    airflow = Airflow()
    shop = Shop(redis_server.url, tmp_path, airflow)
    shop.orders.place(order("r1", "retrain"))
    airflow.state = "failed"
    note = tmp_path / "failures" / f"retrain_{MODEL}" / "r1.txt"
    note.parent.mkdir(parents=True)
    note.write_text("validate: amounts are not as they were")
    shop.look()
    found = shop.orders.get("r1")
    assert found is not None
    assert (found.state, "amounts are not as they were" in found.answer["error"]) == (
        "failed",
        True,
    )


def test_an_order_whose_dag_is_paused_says_so_and_begins_when_it_is_not(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    airflow = Airflow()
    airflow.paused = True
    shop = Shop(redis_server.url, tmp_path, airflow)
    shop.orders.place(order("r1", "retrain"))
    shop.orders.place(order("e1", "evaluate"))
    for _ in range(MAX_ATTEMPTS + 1):  # waiting is no failed try
        assert "paused in Airflow" in shop.look()
    assert shop.children.run == [("services.trainer.run_order", "")], (
        "the evaluation did not wait for it"
    )
    (waiting,) = shop.orders.open()
    assert f"dojo orders unpause {MODEL} --why" in waiting.notes["waits"]
    assert airflow.asked == []
    airflow.paused = False
    assert "r1 runs in Airflow" in shop.look()
    (running,) = shop.orders.open()
    assert (running.notes["waits"], len(airflow.asked)) == ("", 1)
    airflow.paused = True  # in the middle
    assert "paused in Airflow" in shop.look()
    airflow.paused, airflow.state = False, "success"
    shop.look()
    assert [ended.state for ended in shop.orders.ended() if ended.order.id == "r1"] == ["done"]


@pytest.mark.parametrize(
    ("asked", "state"), [(False, "running"), (True, "running"), (True, "queued")]
)
def test_an_order_that_waits_is_given_up_at_its_deadline_and_begins_no_more(
    redis_server: RedisServer, tmp_path: Path, asked: bool, state: str
) -> None:
    airflow = Airflow()
    shop = Shop(redis_server.url, tmp_path, airflow)
    shop.orders.place(order("r1", "retrain"))
    airflow.paused = not asked
    shop.look()
    airflow.paused, airflow.state = state == "running", state
    shop.look()
    assert [work.order.id for work in shop.orders.open()] == ["r1"]
    shop.deadline = timedelta(0)
    shop.start()
    shop.look()
    (found,) = shop.orders.ended()
    assert found.state == "failed"
    assert "(DOJO_ORDER_DEADLINE_SECONDS)" in found.answer["error"]
    assert airflow.given_up == (["r1"] if asked else [])


def test_a_run_that_goes_on_has_no_deadline_of_the_orders(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    shop = Shop(redis_server.url, tmp_path, Airflow())
    shop.deadline = timedelta(0)
    shop.start()
    shop.orders.place(order("r1", "retrain"))
    assert "r1 runs in Airflow" in shop.look()


def test_an_order_behind_other_work_has_a_deadline_too(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    shop = Shop(redis_server.url, tmp_path)
    shop.orders.place(order("e1", "evaluate"))
    shop.deadline = timedelta(0)
    shop.start()
    shop.look()
    assert ([work.state for work in shop.orders.ended()], shop.children.run) == (["failed"], [])


def test_an_airflow_that_never_comes_back_is_given_up(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow = Airflow()
    shop = Shop(redis_server.url, tmp_path, airflow)
    shop.orders.place(order("r1", "retrain"))
    shop.look()
    airflow.away = True
    shop.look()
    monkeypatch.setattr(work, "AIRFLOW_PATIENCE", timedelta(0))
    shop.look()
    found = shop.orders.get("r1")
    assert found is not None
    assert found.state == "failed"


def test_one_that_is_busy_does_not_keep_the_others_waiting(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    shop = Shop(redis_server.url, tmp_path)
    shop.orders.place(order("r1", "retrain"))
    shop.orders.place(order("e1", "evaluate"))
    shop.children.ends = [RetrainingRunningError("another retraining is running")]
    assert "another retraining is running" in shop.look()
    assert [module for module, _ in shop.children.run] == [
        "services.trainer.run_job",
        "services.trainer.run_order",
    ]
    assert [one.order.id for one in shop.orders.open()] == ["r1"]
    shop.look()  # too early for the order
    assert len(shop.children.run) == 2
    found = shop.orders.get("r1")
    assert found is not None
    assert found.attempts == 1


def test_one_that_kills_its_process_each_time_is_given_up(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    shop = Shop(redis_server.url, tmp_path)
    shop.orders.place(order("r1", "retrain"))
    shop.children.ends = [ChildKilledError(f"ended by signal {signal.SIGKILL}")] * 9
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(ChildKilledError):
            shop.look()
    shop.look()
    found = shop.orders.get("r1")
    assert found is not None
    assert (found.state, found.attempts) == ("failed", MAX_ATTEMPTS)
    assert (
        found.answer["error"]
        == f"it was begun {MAX_ATTEMPTS} times; the last try: ended by signal {signal.SIGKILL}"
    )
    assert {key for _, key in shop.children.run} == {"r1"}


def test_a_stopped_trainer_leaves_the_order_open(redis_server: RedisServer, tmp_path: Path) -> None:
    shop = Shop(redis_server.url, tmp_path)
    shop.orders.place(order("e1", "evaluate"))
    shop.children.ends = [Ended("stopped")]
    shop.look()
    assert [one.state for one in shop.orders.open()] == ["running"]


def test_an_order_of_a_clock_that_is_a_little_ahead_is_executed(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """When a fast world slows down, the responder may stamp an order with the old pace's time.

    The trainer has not reached that time yet.
    """
    shop = Shop(redis_server.url, tmp_path)
    shop.orders.place(order("hour-ahead", "evaluate", at=NOW + timedelta(hours=1)))
    shop.look()
    assert [(work.order.id, work.state) for work in shop.orders.ended()] == [("hour-ahead", "done")]


def test_orders_that_make_no_sense_are_refused_in_words(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    shop = Shop(redis_server.url, tmp_path)
    shop.orders.place(order("nobody-1", "evaluate", model="nobody"))
    shop.orders.place(order("broken-1", "retrain", model="broken"))
    shop.orders.place(order("next-week", "retrain", at=NOW + timedelta(days=7)))
    shop.look()
    answers = {work.order.id: (work.state, work.answer["error"]) for work in shop.orders.ended()}
    assert answers["nobody-1"] == ("refused", "there is no model nobody")
    state, why = answers["broken-1"]
    assert state == "refused"
    assert why.endswith("models/broken.yaml:3: wrong")
    assert answers["next-week"][0] == "refused"
    assert "of another world" in answers["next-week"][1]
    assert shop.children.run == []


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"version": 3}, "version: expected text"),
        ({"version": "3", "start": "yesterday"}, "start: expected an ISO instant"),
        ({"version": "3", "start": "2030-03-01T00:00"}, "start: expected an instant with its zone"),
    ],
)
def test_a_report_is_refused_where_the_order_leaves_out_what_it_takes(
    parameters: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(WrongOrderError, match=said):
        execute(
            AskedOrder(order("report-1", "drift_report", **parameters), NOW),
            load_settings(home=tmp_path),
        )


def test_an_order_waits_for_the_child_of_a_killed_trainer_and_clears_up_behind_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "left").mkdir()
    with alone(tmp_path) as workspace:
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [workspace.name]
        with (
            pytest.raises(RetrainingRunningError, match="another process executes an order"),
            alone(tmp_path),
        ):
            pass
        assert workspace.exists()
    assert not workspace.exists()
