"""After any end of the watching, the world is back at its everyday speed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from dojo.core.state.clock import RedisWorldClock
from dojo.demo.steps import StepFailedError
from dojo.demo.traffic import at_speed
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

HURRIED = [sys.executable, "-m", "tests.integration.dojo.demo.hurried_world"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(server: RedisServer) -> Redis:
    redis = Redis.from_url(server.url)
    RedisWorldClock(redis).set(datetime(2025, 1, 6, tzinfo=UTC), 60)
    return redis


def speed(redis: Redis) -> float:
    return RedisWorldClock(redis).speed()


def hurried(redis: Redis) -> None:
    wait_until(lambda: speed(redis) == 2400, 30, "the world runs at the demo's speed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_hurry(server: RedisServer, redis: Redis, number: signal.Signals) -> None:
    demo = subprocess.Popen(
        [*HURRIED, server.url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    hurried(redis)
    demo.send_signal(number)
    ended = {signal.SIGINT: -signal.SIGINT}.get(number, 128 + number)
    assert demo.wait(60) == ended
    assert speed(redis) == 60


def test_a_closed_terminal_ends_the_hurry(server: RedisServer, redis: Redis) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(HURRIED[0], [*HURRIED, server.url])
    hurried(redis)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert speed(redis) == 60


def test_a_command_that_nohup_started_outlives_its_terminal(
    server: RedisServer, redis: Redis
) -> None:
    demo = subprocess.Popen(
        ["nohup", *HURRIED, server.url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    hurried(redis)
    demo.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        demo.wait(1)
    demo.terminate()
    assert demo.wait(10) == 128 + signal.SIGTERM


def test_a_world_that_cannot_be_set_back_is_said(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    clock = RedisWorldClock(Redis.from_url(server.url))
    clock.set(datetime(2025, 1, 6, tzinfo=UTC), 60)
    with pytest.raises(StepFailedError, match="`dojo world resume`"), at_speed(clock, 2400, 60):
        server.stop()
