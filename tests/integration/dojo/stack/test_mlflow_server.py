"""MLflow's server without its launcher runs as its launcher would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dojo.stack.blank_databases import MARKER, begin, blank_database
from dojo.stack.mlflow_server import start
from dojo.stack.servers import MLFLOW_ENVIRONMENT, mlflow_command

pytestmark = pytest.mark.integration

# MLflow's command up to the process that it would start, and the environment it would give it.
ASK_MLFLOW = """
import json, os, sys
import mlflow.server
from mlflow.cli import cli
before = dict(os.environ)
def show(command, extra_env, **_):
    added = {k: v for k, v in os.environ.items() if before.get(k) != v}
    print(json.dumps({"command": command, "environment": {**added, **extra_env}}))
    sys.stdout.flush()
    os._exit(0)
mlflow.server._exec_cmd = show
cli(["server", *sys.argv[1:]])
"""


def test_the_server_gets_the_command_and_environment_that_mlflow_would_give_it(
    tmp_path: Path,
) -> None:
    _, _, _, *arguments = mlflow_command(5001, tmp_path, "127.0.0.1", ("shop.lan",))
    command, environment = start(arguments)
    assert "mlflow.server.fastapi_app:app" in command, "the blank database is there"
    asked = subprocess.run(
        [sys.executable, "-c", ASK_MLFLOW, *arguments],
        env={**os.environ, **MLFLOW_ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    expected = json.loads(asked.stdout.splitlines()[-1])
    assert command == expected["command"]
    for one_of_its_own in (environment, expected["environment"]):
        assert len(one_of_its_own.pop("_MLFLOW_SERVER_BOOT_ID")) == 32
    assert environment == expected["environment"]


def test_a_database_of_another_version_is_left_to_mlflows_own_command(tmp_path: Path) -> None:
    _, _, _, *arguments = mlflow_command(5001, tmp_path)
    assert begin("mlflow", tmp_path / "mlflow.db")
    (tmp_path / MARKER).write_text("3.0.0")
    assert start(arguments) == ([sys.executable, "-m", "mlflow", "server", *arguments], {})
    (tmp_path / MARKER).unlink()
    assert start(arguments)[1] == {}


def test_without_a_blank_database_mlflow_makes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, _, *arguments = mlflow_command(5001, tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "nowhere"))
    assert start(arguments)[1] == {}
    assert not (tmp_path / "mlflow.db").exists()


def test_a_blank_database_belongs_to_the_installed_version() -> None:
    for server in ("mlflow", "airflow"):
        assert blank_database(server).exists(), "make setup makes it"
