"""`dojo up` beside a running stack, and `dojo down --purge`.

Neither may mix stacks up or delete foreign data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.stack.control import running, stop
from dojo.stack.environment import remember
from services.simulator.sources.importing import import_transactions
from tests.integration.dojo.stack.tiny_stack import TinySpec
from tests.support.payments import payments
from tests.support.servers import Server, free_port, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def running_home(tmp_path: Path) -> Iterator[Path]:
    """Start a supervisor over two tiny processes in a home."""
    home = tmp_path / "home"
    home.mkdir()
    table = msgspec.json.encode(
        [TinySpec("worker", free_port()), TinySpec("airflow", free_port())]
    ).decode()
    server = Server(
        "supervisor",
        [sys.executable, "-m", "tests.integration.dojo.stack.tiny_stack", str(home), table],
        tmp_path,
    )
    server.start()
    wait_until(lambda: running(home) is not None, 15, "the supervisor writes its status")
    yield home
    stop(home)
    server.stop()


def file_of_payments(path: Path, seed: int) -> Path:
    payments(days=3, seed=seed, start=datetime(2019, 5, 1, tzinfo=UTC)).write_csv(path)
    return path


def test_a_stack_that_replays_one_file_is_not_joined_with_another(
    running_home: Path, tmp_path: Path
) -> None:
    own, other = (
        file_of_payments(tmp_path / "own.csv", seed=1),
        file_of_payments(tmp_path / "other.csv", seed=2),
    )
    replayed = import_transactions(own, running_home / "imports", {}, lambda *_: None).path
    env = {
        "DOJO_HOME": str(running_home),
        "DOJO_WORLD_SOURCE": "replay",
        "DOJO_REPLAY_DATASET": replayed,
    }

    refused = CliRunner().invoke(
        build(), ["up", "--no-wait", "--transactions", str(other)], env=env
    )
    assert refused.exit_code == 1
    assert f"the stack already runs, on other transactions: {replayed}" in refused.stderr
    assert "dojo down --purge" in refused.stderr

    joined = CliRunner().invoke(
        build(), ["up", "--no-wait", "--json", "--transactions", str(own)], env=env
    )
    assert joined.exit_code == 0, joined.output
    assert json.loads(joined.stdout)["already_running"] is True


def test_a_running_stack_is_not_joined_as_one_without_a_process_that_it_has(
    running_home: Path,
) -> None:
    env = {
        "DOJO_HOME": str(running_home),
        "DOJO_WITHOUT": "",
    }  # the command sets it; the test restores it
    refused = CliRunner().invoke(build(), ["up", "--no-wait", "--without", "airflow"], env=env)
    assert refused.exit_code == 1
    assert "the stack already runs, with airflow" in refused.stderr
    unknown = CliRunner().invoke(build(), ["up", "--no-wait", "--without", "redis"], env=env)
    assert unknown.exit_code == 1
    assert "DOJO_WITHOUT" in unknown.stderr


def purge(home: Path) -> tuple[int, str]:
    done = CliRunner().invoke(build(), ["down", "--purge", "--yes"], env={"DOJO_HOME": str(home)})
    return done.exit_code, done.output


def test_a_directory_that_only_looks_like_a_home_is_not_purged(tmp_path: Path) -> None:
    for name in ("run", "lake", "logs", "redis", "mlflow", "imports"):
        (tmp_path / name).mkdir()
    thesis = tmp_path / "logs" / "thesis.txt"
    thesis.write_text("years of work")
    code, said = purge(tmp_path)
    assert code == 1
    assert "is not a home of the stack" in said
    assert "neither run/environment.json nor world.json" in said
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize("marker", ["run/environment.json", "world.json"])
def test_a_home_that_is_marked_as_ours_is_purged(tmp_path: Path, marker: str) -> None:
    home = tmp_path / "home"
    if marker == "world.json":  # a world built without a stack
        (home / "lake").mkdir(parents=True)
        (home / marker).write_text("{}")
    else:
        remember(home, {})
    assert (home / marker).exists()
    code, said = purge(home)
    assert code == 0
    assert f"deleted {home}" in said
    assert not home.exists()


def test_where_nothing_is_there_is_nothing_to_purge(tmp_path: Path) -> None:
    for _ in range(2):  # stopping leaves an empty `run/`, which counts as nothing
        assert purge(tmp_path / "home") == (0, "nothing was running\n")
