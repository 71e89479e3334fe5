"""Everything real: Redis, MLflow, gateway, bundles, the controller's process and `dojo rollout`.

The process is killed at any moment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from dojo.core.connections import connect_redis
from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.versions import CHAMPION, PREVIOUS_CHAMPION, ModelRegistry
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.rollouts import Rollout, Rollouts
from tests.support.bundles import make_bundle, make_failing_bundle, register_champion
from tests.support.gateways import MODEL, GatewayServer, logged_predictions
from tests.support.registries import sealed_registry
from tests.support.servers import MlflowServer, RedisServer, Server, free_port, wait_until

pytestmark = pytest.mark.integration

START = datetime(2018, 7, 1, tzinfo=UTC)
# A canary takes 12 s. The machine may stall for 0.6 s before its silence is taken off the stage's
# time.
WORLD_SPEED = 1200.0
LABELS = {"missed", "false_positives"}
FAILS_FROM = 1_000.0  # in euros: only larger payments make the failing bundle raise


class ControllerServer(Server):
    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self.port = int(env["DOJO_ROLLOUT_PORT"])
        super().__init__("rollout", [sys.executable, "-m", "services.rollout"], directory, env)

    def start(self) -> None:
        super().start()
        wait_until(
            lambda: self.health().get("state") not in (None, "starting"),
            90,
            f"the controller looks; see {self.log}",
        )

    def health(self) -> dict[str, Any]:
        """Return the health, empty while no server answers."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/healthz", timeout=5
            ) as answer:
                return dict(json.loads(answer.read()))
        except OSError:
            return {}

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())


class Payments:
    """Asks the gateway for 20 payments at a time, of many customers, until stopped."""

    def __init__(self, gateway: GatewayServer) -> None:
        self.answers: list[dict[str, Any]] = []
        self.amount = 5.0
        self._gateway, self._stop, self._count = gateway, threading.Event(), 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Payments:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._stop.is_set():
            numbers = range(self._count, self._count + 20)
            self._count += 20
            self.answers += self._gateway.predict(
                *(
                    {
                        "request_id": f"p{n}",
                        "customer_id": f"c{n * 7919 % 5000}",
                        "merchant_id": f"m{n % 50}",
                        "amount": self.amount,
                    }
                    for n in numbers
                )
            )
            self._stop.wait(0.03)


@dataclass
class Platform:
    redis: RedisServer
    registry: ModelRegistry
    gateway: GatewayServer
    controller: ControllerServer
    rollouts: Rollouts
    clock: RedisWorldClock
    champion: str
    good: str
    failing: str
    env: dict[str, str]

    def dojo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("dojo")), "rollout", *arguments]
        return subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=90
        )

    def start(self, version: str) -> Rollout:
        started = self.dojo("start", f"{MODEL}@{version}", "--why", "test", "--force", "--json")
        assert started.returncode == 0, started.stderr
        return self.now

    @property
    def now(self) -> Rollout:
        found = self.rollouts.get(MODEL)
        assert found is not None
        return found

    def pass_time(self) -> None:
        """Stop the world until a stage has its evidence, then run it until the stage is over."""
        wait_until(self._waits_for_time, 90, f"only time is missing; see {self.controller.log}")
        stage = self.now.stage
        self.clock.set(self.clock.now(), speed=WORLD_SPEED)
        wait_until(
            lambda: self.now.stage is not stage,
            90,
            f"{stage} ends; see {self.controller.log}",
            every=0.05,
        )
        self.clock.set(self.clock.now(), speed=0)

    def _waits_for_time(self) -> bool:
        now = self.now
        return now.stage_since is not None and [
            k.check for k in now.looks if k.verdict != "ok" and k.check not in LABELS
        ] == ["time"]

    def reaches(self, *stages: Stage, within: float = 90) -> None:
        wait_until(
            lambda: self.now.stage in stages,
            within,
            f"{stages}; see {self.controller.log}",
            every=0.01,
        )


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer
) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("rollout")
    models = directory / "models"
    models.mkdir()
    spec = yaml.safe_load(Path("models/fraud_detection.yaml").read_text())
    # With few requests, a stage lasts seconds. The watch takes 8 h. A busy machine slows all arms,
    # so latency is not judged here.
    spec["rollout"] |= {"minimum_requests": 30, "watch_time": "8h", "minimum_positives": 1}
    spec["serving"] |= {
        "latency_class": "batch",
        "latency_slo": "900ms",
        "deadline": "1000ms",
        "feature_timeout": "500ms",
    }
    (models / f"{MODEL}.yaml").write_text(yaml.safe_dump(spec))

    redis = RedisServer(directory)
    redis.start()
    registry = sealed_registry(mlflow_server.url)
    versions = {}
    for name, make in (
        ("good", make_bundle),
        ("failing", make_failing_bundle),
        ("champion", make_bundle),
    ):
        options: dict[str, Any] = (
            {"fails_from": FAILS_FROM}
            if name == "failing"
            else {"seed": 1 if name == "champion" else 3}
        )
        sha256 = make(directory / name, **options)
        versions[name] = register_champion(
            registry, directory / name, sha256
        ).version  # the last one stays champion
    client = connect_redis(redis.url)
    clock = RedisWorldClock(client)
    clock.set(START, speed=0)
    gateway = GatewayServer(directory, redis.url, mlflow_server.url, models_dir=models)
    env = {
        "DOJO_HOME": str(directory / "home"),
        "DOJO_MODELS_DIR": str(models),
        "DOJO_REDIS_URL": redis.url,
        "DOJO_MLFLOW_URL": mlflow_server.url,
        "DOJO_ROLLOUT_PORT": str(free_port()),
    }
    controller = ControllerServer(directory, env)
    gateway.start()
    controller.start()
    wait_until(
        lambda: gateway.health()["models"][MODEL]["version"] == versions["champion"],
        60,
        "the champion serves",
    )
    yield Platform(
        redis, registry, gateway, controller, Rollouts(client), clock, **versions, env=env
    )
    for server in (controller, gateway, redis):
        server.stop()
    client.close()


def test_a_canary_that_always_fails_is_taken_away_and_every_customer_gets_the_champions_answer(
    platform: Platform,
) -> None:
    with Payments(platform.gateway) as payments:
        payments.amount = 5.0
        rollout = platform.start(platform.failing)
        second = platform.dojo("start", MODEL, platform.good, "--why", "test", "--force")
        assert second.returncode == 1
        assert f"version {platform.failing} is already being rolled out" in " ".join(
            second.stderr.split()
        )
        platform.pass_time()
        platform.reaches(Stage.CANARY)
        payments.amount = 2 * FAILS_FROM
        platform.reaches(Stage.ROLLED_BACK, Stage.WATCH)
    assert platform.now.stage is Stage.ROLLED_BACK
    assert platform.now.history[-1].why.startswith("errors: ")
    assert not [
        answer
        for answer in payments.answers
        if answer["version"] not in (platform.champion, platform.failing)
    ]

    events = [event for event in logged_predictions(platform.redis.url) if event.route_generation]
    failed = [event for event in events if "arm_failed" in event.degraded]
    assert failed
    assert {(event.arm, event.version) for event in failed} == {("challenger", platform.champion)}
    canary = [event for event in events if event.route_generation == failed[0].route_generation]
    # The sample consists of customers, and each stays on one arm. The limit is three standard
    # deviations of a tenth of them.
    customers = {event.entity_keys["customer"]: event.arm for event in canary}
    exposed = sum(arm == "challenger" for arm in customers.values())
    assert exposed <= 0.1 * len(customers) + 3 * (0.09 * len(customers)) ** 0.5
    assert (
        f'dojo_rollout_check{{check="errors",model="{MODEL}"}} -1.0'
        in platform.controller.metrics()
    )
    shown = json.loads(platform.dojo("show", MODEL, "--json").stdout)
    assert (shown["id"], shown["stage"]) == (rollout.id, "rolled_back")
    explained = platform.dojo("show", MODEL).stdout
    assert "failed" in explained
    assert "e-value" in explained
    assert platform.registry.by_alias(MODEL, CHAMPION).version == platform.champion


def test_a_good_canary_arrives_although_its_controller_is_killed_in_every_stage(
    platform: Platform,
) -> None:
    with Payments(platform.gateway):
        platform.start(platform.good)
        for stage in (Stage.SHADOW, Stage.CANARY):
            platform.reaches(stage)
            platform.controller.kill()
            platform.controller.start()
            platform.pass_time()
        platform.reaches(Stage.WATCH)
        platform.controller.kill()
        platform.controller.start()
        paused = platform.dojo("pause", MODEL, "--why", "look closer")
        assert paused.returncode == 0, paused.stderr
        assert "stays in its stage" in " ".join(paused.stdout.split())
        assert platform.now.paused
        promoted = platform.dojo("finish", MODEL, "--why", "seen enough", "--yes")
        assert promoted.returncode == 0, promoted.stderr
        platform.reaches(Stage.DONE)
    assert [step.after for step in platform.now.history if step.before != step.after] == [
        "shadow",
        "canary",
        "promoting",
        "watch",
        "done",
    ]
    roles = {
        alias: platform.registry.by_alias(MODEL, alias) for alias in (CHAMPION, PREVIOUS_CHAMPION)
    }
    assert {alias: found.version for alias, found in roles.items() if found} == {
        CHAMPION: platform.good,
        PREVIOUS_CHAMPION: platform.champion,
    }


def test_a_request_that_no_controller_takes_says_so(platform: Platform) -> None:
    platform.start(platform.failing)
    platform.controller.signal(signal.SIGSTOP)
    try:
        asked = platform.dojo("abort", MODEL, "--why", "test", "--yes")
        assert asked.returncode == 1
        assert "no controller took it" in " ".join(asked.stderr.split())
    finally:
        platform.controller.signal(signal.SIGCONT)
    platform.reaches(Stage.ROLLED_BACK)


def test_redis_away_is_said_and_survived(platform: Platform) -> None:
    platform.redis.kill()
    wait_until(
        lambda: "Redis" in str(platform.controller.health()),
        30,
        "the controller says what it waits for",
    )
    assert platform.controller.health()["status"] == "ok", "a restart would not bring Redis back"
    platform.redis.start()
    wait_until(lambda: platform.controller.health()["state"] == "running", 30, "and goes on")
