"""`dojo world` and `dojo doctor` against a real Redis."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from dojo.cli.world.clock import app
from dojo.core.connections import connect_redis
from dojo.core.state.clock import CLOCK_KEY, Anchor, RedisWorldClock, wall_now
from dojo.stack.doctor_checks import DoctorVerdict, redis_server_starts
from tests.support.servers import RedisServer, free_port

pytestmark = pytest.mark.integration

START = datetime(2018, 6, 10, tzinfo=UTC)


@pytest.fixture
def clock(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisWorldClock:
    monkeypatch.setenv("DOJO_REDIS_URL", redis_server.url)
    return RedisWorldClock(connect_redis(redis_server.url), refresh=timedelta(0))


def world(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_the_world_is_resumed_and_paused_without_a_jump(clock: RedisWorldClock) -> None:
    clock.set(START, speed=0)
    assert world("status") == {
        "time": "2018-06-10T00:00:00Z",
        "speed": 0.0,
        "paused": True,
        "standstill_seconds": 0.0,
    }
    world("resume", "--speed", "3600")
    assert clock.speed() == 3600
    paused = world("pause")
    assert paused["paused"]
    assert clock.now() == datetime.fromisoformat(paused["time"])
    # Two commands take well under a minute of wall time. Each second of it is a world hour.
    assert START < clock.now() < START + timedelta(hours=60)


def test_a_world_that_no_simulator_moves_is_not_said_to_run(
    clock: RedisWorldClock, redis_server: RedisServer
) -> None:
    anchor = Anchor(START, wall_now() - timedelta(seconds=2405), speed=60, runs_on=5)
    connect_redis(redis_server.url).set(CLOCK_KEY, msgspec.json.encode(anchor))
    status = world("status")
    assert status["time"] == "2018-06-10T00:05:00Z"
    assert 2400 <= status["standstill_seconds"] < 2460
    said = CliRunner().invoke(app, ["status"]).stdout
    assert (
        "it stands still, for the simulator does not move it: dojo status, dojo logs simulator"
        in " ".join(said.split())
    )
    assert world("resume", "--speed", "60")["standstill_seconds"] == 0


def test_resuming_without_a_speed_uses_the_setting(
    clock: RedisWorldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOJO_SPEED", "120")
    clock.set(START, speed=0)
    assert world("resume")["speed"] == 120


@pytest.mark.parametrize("command", ["status", "pause", "resume"])
def test_a_world_without_a_time_and_an_absent_redis_are_said_with_the_next_step(
    clock: RedisWorldClock, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = CliRunner().invoke(app, [command])
    assert empty.exit_code == 1
    assert "the world has no time yet" in empty.stderr
    monkeypatch.setenv("DOJO_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    absent = CliRunner().invoke(app, [command])
    assert absent.exit_code == 1
    assert "dojo up" in absent.stderr


def test_an_absent_redis_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("DOJO_REDIS_URL", f"redis://somebody:secret@127.0.0.1:{port}/0")
    absent = CliRunner().invoke(app, ["status"])
    assert f"Redis does not answer at 127.0.0.1:{port}:" in absent.stderr
    assert "secret" not in absent.output
    assert "somebody" not in absent.output


def test_the_doctor_really_asks_the_embedded_redis_server() -> None:
    check = redis_server_starts()
    assert check.verdict is DoctorVerdict.OK
    assert check.found.endswith("answers PING")
