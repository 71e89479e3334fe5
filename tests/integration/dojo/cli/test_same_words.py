"""The same mistake gives the same words and the same exit code in every command.

It needs a real Redis. No other server runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis.exceptions import RedisError
from typer.testing import CliRunner, Result

from dojo.cli.app import build
from dojo.cli.redis_words import redis_words
from dojo.core.connections import connect_redis
from dojo.core.registry.promotion import Change, RoleChanges, full_traffic
from dojo.core.registry.versions import ModelRegistry
from dojo.core.settings import Settings
from dojo.core.state.applied_specs import AppliedSpecs
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import RouteTable
from dojo.core.tasks.specs import load_spec
from tests.support.servers import RedisServer, free_port

pytestmark = pytest.mark.integration

MODEL = "fraud_detection"
ROOT = Path(__file__).parents[4]
NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Commands:
    """`dojo` on one Redis. MLflow is away."""

    redis: str
    home: Path

    def run(self, *arguments: str, code: int) -> Result:
        env = {
            "DOJO_REDIS_URL": self.redis,
            "DOJO_MLFLOW_URL": f"http://127.0.0.1:{free_port()}",
            "DOJO_MODELS_DIR": str(ROOT / "models"),
            "DOJO_HOME": str(self.home),
            "DOJO_WITHOUT": "airflow",
            "COLUMNS": "200",
        }
        done = CliRunner().invoke(build(), list(arguments), env=env)
        assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
        return done


@pytest.fixture
def dojo(redis_server: RedisServer, tmp_path: Path) -> Commands:
    """Start with an empty Redis, so that the world has no time yet."""
    return Commands(redis_server.url, tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "list"),
        ("audit", "verify"),
        ("alerts",),
        ("routes", "list"),
        ("routes", "show", MODEL),
        ("models", "promote", f"{MODEL}@2", "--why", "x"),
        ("models", "approve", MODEL, "--why", "x"),
        ("rollout", "list"),
        ("rollout", "show", MODEL),
        ("rollout", "abort", MODEL, "--why", "x", "--yes"),
        ("drift", "show", MODEL),
        ("drift", "mark", MODEL, "any", "--false-alarm", "--why", "x"),
        ("drift", "tune", MODEL),
        ("dead-letters",),
        ("responder", "status"),
        ("responder", "pause", "--why", "x"),
        ("responder", "dry-run", "on", "--why", "x"),
        ("world", "status"),
        ("world", "pause"),
        ("world", "drift", "list"),
        ("world", "drift", "start", "unit_bug", "--why", "x"),
        ("retrain", MODEL, "--in-process", "--why", "x"),
        ("score", "batch", MODEL),
        ("score", "show", MODEL, "c1"),
    ],
    ids=" ".join,
)
def test_without_redis_every_command_says_so(arguments: tuple[str, ...], tmp_path: Path) -> None:
    port = free_port()
    failed = Commands(f"redis://somebody:secret@127.0.0.1:{port}/0", tmp_path).run(
        *arguments, code=1
    )
    assert f"error Redis does not answer at 127.0.0.1:{port}: " in failed.stderr
    assert failed.stderr.endswith("next  dojo up\n")
    assert "secret" not in failed.output


# Commands that write. The ones without a model need nothing but a world with a time.
WRITES = [
    ("world", "pause"),
    ("world", "resume"),
    ("world", "drift", "start", "unit_bug", "--why", "x"),
    ("responder", "pause", "--why", "x"),
    ("responder", "dry-run", "on", "--why", "x"),
    ("config", "apply", "--why", "x", "--yes"),
    ("routes", "switch", MODEL, "--why", "x", "--yes"),
    ("rollout", "abort", MODEL, "--why", "x", "--yes"),
    ("models", "rollback", MODEL, "--to", "1", "--why", "x", "--yes"),
]


@pytest.mark.parametrize("arguments", WRITES, ids=" ".join)
def test_a_full_redis_is_named_with_its_limit_and_how_to_raise_it(
    dojo: Commands, arguments: tuple[str, ...]
) -> None:
    redis = connect_redis(dojo.redis)
    RedisWorldClock(redis).set(NOON, 0)
    change = Change(key="x", who="tests", why="set up", world_time=NOON)
    changes = RoleChanges(ModelRegistry("http://127.0.0.1:9"), RouteTable(redis), AuditTrail(redis))
    changes.route(MODEL, "blue_green", full_traffic("2", "1"), change)
    spec = load_spec(ROOT / "models" / f"{MODEL}.yaml")
    if arguments[0] == "rollout":
        Rollouts(redis).start(spec, "3", "2", NOON, "x", "x", {})
    AppliedSpecs(redis).apply(
        spec.model_copy(update={"description": "before"}), "tests", "set up", NOON
    )
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    limit = int(redis.info("memory")["used_memory"]) // 2
    redis.config_set("maxmemory", limit)

    failed = dojo.run(*arguments, code=1)
    address = dojo.redis.removeprefix("redis://").removesuffix("/0")
    assert f"error Redis at {address} is full and refuses to write: " in failed.stderr
    assert "are used of `maxmemory` " in failed.stderr
    host, port = address.split(":")
    command = f"redis-cli -h {host} -p {port} config set maxmemory {2 * limit}"
    assert failed.stderr.endswith(f"next  {command}, then repeat this\n")
    redis.config_set("maxmemory", 0)
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before, (
        "a refused command changed nothing"
    )


def test_each_full_redis_of_the_stack_is_named_with_the_process_to_restart(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "online").mkdir()
    online = RedisServer(tmp_path / "online")
    online.start()
    settings = Settings(home=tmp_path, redis_port=redis_server.port, redis_online_port=online.port)
    try:
        for name, server in (("redis-online", online), ("redis", redis_server)):
            redis = connect_redis(server.url)
            redis.config_set("maxmemory", 1)
            with pytest.raises(RedisError) as refused:
                redis.set("a", "b")
            message, next_step = redis_words(refused.value, settings)
            assert message.startswith(f"Redis at 127.0.0.1:{server.port} is full")
            assert next_step.startswith(f"dojo restart {name} (")
            redis.config_set("maxmemory", 0)
    finally:
        online.stop()


def test_another_refusal_of_redis_is_no_absence(dojo: Commands) -> None:
    redis = connect_redis(dojo.redis)
    redis.rpush("dojo:clock", "not a clock")
    assert "refuses: WRONGTYPE" in dojo.run("world", "pause", code=1).stderr
    redis.config_set("requirepass", "secret")
    locked = dojo.run("world", "pause", code=1)
    assert "refuses the password: " in locked.stderr
    assert "DOJO_REDIS_URL=" in locked.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("routes", "show", "nobody"),
        ("routes", "set", "nobody", "--strategy", "champion", "--why", "x"),
        ("routes", "switch", "nobody", "--why", "x"),
        ("models", "promote", "nobody@2", "--why", "x"),
        ("models", "rollback", "nobody", "--why", "x"),
        ("models", "approve", "nobody", "--why", "x"),
        ("rollout", "start", "nobody@2", "--why", "x"),
        ("rollout", "show", "nobody"),
        ("rollout", "abort", "nobody", "--why", "x", "--yes"),
        ("experiment", "report", "nobody"),
        ("performance", "nobody"),
        ("drift", "show", "nobody"),
        ("drift", "mark", "nobody", "any", "--false-alarm", "--why", "x"),
        ("drift", "tune", "nobody"),
        ("responder", "status", "nobody"),
        ("responder", "pause", "nobody", "--why", "x"),
        ("retrain", "nobody", "--why", "x"),
        ("train", "nobody"),
    ],
    ids=" ".join,
)
def test_an_unknown_model_is_the_same_mistake_everywhere(
    dojo: Commands, arguments: tuple[str, ...]
) -> None:
    RedisWorldClock(connect_redis(dojo.redis)).set(datetime(2030, 3, 1, 12, tzinfo=UTC), 0)
    failed = dojo.run(*arguments, code=2)
    assert f"error no model nobody; there are {MODEL}\n" in failed.stderr
    assert list(AuditTrail(connect_redis(dojo.redis)).entries()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "promote", f"{MODEL}@2", "--why", "x"),
        ("routes", "switch", MODEL, "--why", "x"),
        ("rollout", "start", f"{MODEL}@2", "--why", "x"),
        ("world", "status"),
        ("world", "pause"),
        ("world", "resume"),
        ("world", "drift", "list"),
        ("world", "drift", "start", "unit_bug", "--why", "x"),
        ("retrain", MODEL, "--in-process", "--why", "x"),
        ("train", MODEL),
    ],
    ids=" ".join,
)
def test_a_world_without_time_is_the_same_obstacle_everywhere(
    dojo: Commands, arguments: tuple[str, ...]
) -> None:
    failed = dojo.run(*arguments, code=1)
    assert "error the world has no time yet: build its history first" in failed.stderr
    assert failed.stderr.endswith("next  dojo data history\n")
    assert list(AuditTrail(connect_redis(dojo.redis)).entries()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("routes", "switch", MODEL),
        ("rollout", "pause", MODEL),
        ("responder", "pause"),
        ("responder", "dry-run", "on"),
        ("drift", "mark", MODEL, "any", "--false-alarm"),
        ("world", "drift", "start", "unit_bug"),
        ("retrain", MODEL, "--in-process"),
    ],
    ids=" ".join,
)
def test_a_change_without_a_reason_is_a_wrong_call_everywhere(
    dojo: Commands, arguments: tuple[str, ...]
) -> None:
    RedisWorldClock(connect_redis(dojo.redis)).set(datetime(2030, 3, 1, 12, tzinfo=UTC), 0)
    assert "--why is empty" in dojo.run(*arguments, "--why", " ", code=2).stderr
    assert "--why is missing" in dojo.run(*arguments, code=2).stderr, "a script is not asked"


def test_a_kill_switch_works_before_the_world_has_a_time(dojo: Commands) -> None:
    dojo.run("responder", "pause", "--why", "x", "--who", "Zoë", code=0)
    dojo.run("responder", "dry-run", "on", "--why", "x", "--who", "Zoë", code=0)
    trail = AuditTrail(connect_redis(dojo.redis)).entries()
    assert [(entry.who, entry.why, entry.world_time) for entry in trail] == [("Zoë", "x", None)] * 2
