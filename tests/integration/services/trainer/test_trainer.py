"""The trainer on a real Redis: its orders, a restart, and the process itself."""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from redis import Redis

from dojo.core.spec.schema import ModelSpec
from dojo.core.state.applied_specs import AppliedSpecs
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import Inbox
from dojo.core.state.loss import RedisLoss, held_back, loss_document
from dojo.core.state.work_orders import WorkOrders
from dojo.core.tasks.specs import LoadedSpecs
from pipelines.training.job import Job
from pipelines.training.schedule import ScheduleStore
from pipelines.training.workspaces import exclusive
from services.trainer.child import ChildKilledError
from services.trainer.loop import Launcher, TrainerService
from services.trainer.order_executor import Executor
from tests.integration.services.monitor.shifted_shop import write_spec
from tests.support.payments import small_spec
from tests.support.servers import RedisServer, Server, free_port, http_ok, wait_until

pytestmark = pytest.mark.integration

NOW = datetime(2018, 6, 24, tzinfo=UTC)


class Recorded(Launcher):
    """Only remembers calls, and fails as often as told."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.failures = 0

    def __call__(self, job: Job, stop: threading.Event) -> str:
        self.jobs.append(job)
        if self.failures:
            self.failures -= 1
            raise ChildKilledError("killed")
        return "done"


class World:
    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.spec: ModelSpec = small_spec("trainer")
        self.launched, self.state = Recorded(), ""

    def at(self, moment: datetime) -> None:
        """Let a fresh trainer look once at a paused world's `moment`."""
        clock, specs = RedisWorldClock(self.redis), {self.spec.name: self.spec}
        clock.set(moment, speed=0)
        loaded = LoadedSpecs(specs, {})
        executor = Executor(WorkOrders(self.redis), loaded, clock.now, Path("unused"), airflow=None)
        trainer = TrainerService(
            specs,
            clock,
            ScheduleStore(self.redis),
            self.launched,
            executor,
            AppliedSpecs(self.redis),
            partial(held_back, self.redis),
        )
        try:
            trainer.look(self.spec, threading.Event())
        finally:
            self.state = trainer.models["trainer"]


@pytest.fixture
def world(redis_server: RedisServer) -> World:
    return World(Redis.from_url(redis_server.url))


def test_it_counts_from_its_first_look_and_asks_when_a_week_is_over(world: World) -> None:
    world.at(NOW)
    assert world.launched.jobs == []
    assert world.state == "counting from 2018-06-24 00:00"
    world.at(NOW + timedelta(days=6))
    assert world.state == "waiting for 2018-07-01 00:00"
    world.at(NOW + timedelta(days=7))
    (job,) = world.launched.jobs
    assert (job.as_of, job.reason, job.who, job.dry_run) == (
        NOW + timedelta(days=7),
        "scheduled, every 7d",
        "schedule",
        False,
    )
    world.at(NOW + timedelta(days=7, hours=1))
    assert len(world.launched.jobs) == 1


def test_after_a_loss_of_redis_no_schedule_retrains_until_a_person_has_answered(
    world: World,
) -> None:
    world.at(NOW)
    loss = RedisLoss(lost=("the clock",), seen=NOW, found=NOW, entry_id="x")
    loss_document(world.redis).put(loss)
    world.at(NOW + timedelta(days=8))
    assert world.launched.jobs == []
    assert world.state.startswith("waiting: Redis has lost the clock")
    assert "dojo restore --why" in world.state
    loss_document(world.redis).put(msgspec.structs.replace(loss, answered_by="Zoë"))
    world.at(NOW + timedelta(days=8, hours=1))
    assert len(world.launched.jobs) == 1


def test_weeks_that_nobody_looked_are_one_retraining(world: World) -> None:
    world.at(NOW)
    world.at(NOW + timedelta(days=35))
    world.at(NOW + timedelta(days=36))
    assert [job.as_of for job in world.launched.jobs] == [NOW + timedelta(days=35)]


def test_a_retraining_by_hand_puts_the_next_one_off(world: World) -> None:
    world.at(NOW)
    ScheduleStore(world.redis).began("trainer", NOW + timedelta(days=5))
    world.at(NOW + timedelta(days=8))
    assert world.launched.jobs == []


def test_a_killed_retraining_is_begun_again_as_the_same_job(world: World) -> None:
    world.at(NOW)
    world.launched.failures = 1
    with pytest.raises(ChildKilledError):
        world.at(NOW + timedelta(days=7))
    assert "retrying scheduled-2018-07-01T000000" in world.state
    world.at(NOW + timedelta(days=7, hours=3))
    first, again = world.launched.jobs
    assert first == again
    world.at(NOW + timedelta(days=7, hours=4))
    assert len(world.launched.jobs) == 2


def test_another_world_begins_to_count_anew(world: World) -> None:
    world.at(NOW)
    world.launched.failures = 1
    with pytest.raises(ChildKilledError):
        world.at(NOW + timedelta(days=7))
    world.at(NOW - timedelta(days=90))
    assert len(world.launched.jobs) == 1
    assert world.state == "counting from 2018-03-26 00:00"


def test_the_same_moment_of_another_world_is_another_job(world: World) -> None:
    """Airflow and MLflow may be remote, and remember the first world."""
    for _ in range(2):
        world.at(NOW)
        world.at(NOW + timedelta(days=7))
    first, second = world.launched.jobs
    assert first.as_of == second.as_of
    assert first.key != second.key


@pytest.fixture
def process(redis_server: RedisServer, tmp_path: Path) -> Iterator[tuple[Server, int]]:
    port = free_port()
    write_spec(tmp_path / "models", "trainer")
    environment = {
        "DOJO_HOME": str(tmp_path / "home"),
        "DOJO_MODELS_DIR": str(tmp_path / "models"),
        "DOJO_REDIS_URL": redis_server.url,
        "DOJO_MLFLOW_URL": f"http://127.0.0.1:{free_port()}",
        "DOJO_TRAINER_PORT": str(port),
        "DOJO_WITHOUT": "airflow",
    }
    server = Server(
        "trainer",
        [sys.executable, "-m", "services.trainer"],
        tmp_path,
        {**os.environ, **environment},
    )
    server.start()
    yield server, port
    server.stop()


def test_the_process_retrains_in_a_child_that_says_why_it_could_not(
    process: tuple[Server, int], redis_server: RedisServer, tmp_path: Path
) -> None:
    """At first another retraining is in the way, and nothing is lost.

    Then the child refuses, because the world has no payments. The owner is paged, and the trainer
    waits for next week.
    """
    server, port = process
    redis = Redis.from_url(redis_server.url)

    def state() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return str(json.load(answer)["models"].get("trainer", ""))

    ScheduleStore(redis).began("trainer", NOW - timedelta(days=7))
    with exclusive("trainer", tmp_path / "home"):
        RedisWorldClock(redis).set(NOW, speed=0)
        wait_until(
            lambda: http_ok(f"http://127.0.0.1:{port}/healthz"),
            60,
            f"the trainer answers:\n{server.tail()}",
            every=0.2,
        )
        wait_until(
            lambda: "another retraining is running" in state(),
            120,
            f"it is busy:\n{server.tail()}",
            every=0.2,
        )
        assert ScheduleStore(redis).pending("trainer") is not None
        assert Inbox(redis).newest(1) == []
    wait_until(
        lambda: bool(Inbox(redis).newest(1)),
        120,
        f"the owner is paged:\n{server.tail()}",
        every=0.2,
    )
    (page,) = Inbox(redis).newest(10)
    assert (page.urgency, page.to) == ("page", "payments-risk")
    assert "collect: StaleDataError" in page.text
    wait_until(
        lambda: state() == "waiting for 2018-07-01 00:00", 30, f"it waits: {state()}", every=0.2
    )
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b'dojo_trainer_runs_total{model="trainer",outcome="refused"} 1.0' in answer.read()
    assert ScheduleStore(redis).pending("trainer") is None
    assert server.stop() == 0
