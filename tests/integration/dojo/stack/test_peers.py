"""The `dojo` command inside the network of a stack in containers.

tests/deploy has the real stack.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.core.settings import VARIABLES, Settings, load_settings
from dojo.core.telemetry import HealthServer
from dojo.stack.control import StackError
from dojo.stack.peers import look_around, wait_for_peers
from dojo.stack.supervisor.lifecycle import ProcessState
from tests.support.servers import free_port

pytestmark = pytest.mark.integration

NETWORK = ".platform"


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve names as Docker's DNS does. Every container is this machine."""
    resolve = socket.getaddrinfo

    def answer(host: Any, *rest: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(NETWORK) else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.fixture
def environment(tmp_path: Path, network: None) -> dict[str, str]:
    return {
        **{name: str(free_port()) for name in sorted(VARIABLES) if name.endswith("_PORT")},
        "DOJO_HOME": str(tmp_path),
        "DOJO_PEER_HOSTS": "{name}" + NETWORK,
        "DOJO_REDIS_URL": f"redis://redis-events{NETWORK}:{free_port()}/0",
        "DOJO_ONLINE_STORE_URL": f"redis://redis-online{NETWORK}:{free_port()}/0",
        "DOJO_MLFLOW_URL": f"http://mlflow{NETWORK}:{free_port()}",
        "DOJO_AIRFLOW_URL": f"http://admin:secret@airflow{NETWORK}:{free_port()}",
        "DOJO_WITHOUT": "prometheus",
    }


@pytest.fixture
def settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.fixture
def recorder(settings: Settings) -> Iterator[None]:
    """Start one container that answers."""
    with HealthServer("127.0.0.1", settings.recorder_port, lambda: (True, {"state": "recording"})):
        yield


def test_everybody_is_asked_and_speaks_for_itself(settings: Settings, recorder: None) -> None:
    status = look_around(settings)
    states = {process.name: process for process in status.processes}
    assert {"redis", "redis-online", "mlflow", "airflow", "gateway", "monitor", "recorder"} <= set(
        states
    )
    assert [name for name, process in states.items() if process.state is ProcessState.HEALTHY] == [
        "recorder"
    ]
    assert states["recorder"].details == {"state": "recording"}
    assert states["gateway"].details["error"], "why not"
    assert not status.healthy
    assert "secret" not in repr(status)


def test_waiting_ends_with_who_is_missing(settings: Settings, recorder: None) -> None:
    seen: list[int] = []
    with pytest.raises(StackError, match=r"not healthy after 0 s: .*gateway") as failed:
        wait_for_peers(settings, lambda status: seen.append(len(status.processes)), timeout=0)
    assert "recorder" not in str(failed.value)
    assert seen, "progress was told"


def test_status_says_what_is_down_and_ends_with_1(
    environment: dict[str, str], recorder: None
) -> None:
    done = CliRunner().invoke(build(), ["status", "--json"], env=environment)
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert said["running"] is True
    assert said["healthy"] is False
    assert {process["name"] for process in said["processes"] if process["state"] == "healthy"} == {
        "recorder"
    }


@pytest.mark.parametrize(
    ("command", "next_step"),
    [
        (["down"], "docker compose down"),
        (["down", "--purge", "--yes"], "docker compose down"),
        (["logs", "gateway"], "docker compose logs"),
        (["up", "--transactions", sys.executable], "docs/containers.md"),
    ],
)
def test_what_is_dockers_is_left_to_docker(
    environment: dict[str, str], command: list[str], next_step: str
) -> None:
    Path(environment["DOJO_HOME"], "world.json").write_text("{}")
    done = CliRunner().invoke(build(), command, env=environment)
    assert done.exit_code != 0
    assert "the stack runs in containers" in done.stderr
    assert next_step in done.stderr
    assert Path(environment["DOJO_HOME"], "world.json").exists()
