"""A home that other users of the machine cannot read.

The tests cover the files of a real Redis, logs, and homes that were made wide.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.core.settings import Settings
from dojo.stack import doctor_checks
from dojo.stack.control import running, stop
from dojo.stack.doctor_checks import DoctorVerdict
from dojo.stack.environment import remember
from tests.support.servers import Server, free_port, wait_until

pytestmark = pytest.mark.integration

ONLY_REDIS = """
import sys
from dojo.core.service import run_process
from dojo.stack.supervisor.__main__ import supervise
from dojo.stack.table import processes
def run(settings):
    return supervise([spec for spec in processes(settings) if spec.name == "redis"], settings.home)
sys.exit(run_process("supervisor", run))
"""


@pytest.fixture(autouse=True)
def _a_wide_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def wide(home: Path) -> dict[str, str]:
    return {
        str(path): oct(path.stat().st_mode)
        for path in (home, *home.rglob("*"))
        if path.stat().st_mode & 0o077
    }


def test_redis_files_logs_and_status_are_private_whatever_the_umask(tmp_path: Path) -> None:
    home, port = tmp_path / "home", free_port()
    env = {"DOJO_HOME": str(home), "DOJO_REDIS_PORT": str(port)}
    server = Server("supervisor", [sys.executable, "-c", ONLY_REDIS], tmp_path, env)
    server.start()
    try:
        wait_until(
            lambda: (
                (status := running(home)) is not None and status.processes[0].state == "healthy"
            ),
            30,
            "Redis answers",
        )
        Redis(port=port).set("a", "b")
        wait_until(
            lambda: any(path.stat().st_size for path in home.glob("redis/*.aof")),
            10,
            "the append-only file is written",
        )
        assert (home / "logs" / "redis.log").exists()
        assert wide(home) == {}
    finally:
        stop(home)
        server.stop()


def test_up_closes_a_home_that_was_made_wide_and_says_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    remember(home, {})
    (home / "lake").mkdir()
    (home / "lake" / "part.parquet").write_text("rows")
    assert wide(home)
    settings = Settings(home=home)
    found = doctor_checks.home(settings)
    assert (found.verdict, found.next_step) == (DoctorVerdict.WARNING, "dojo up closes it")

    env = {
        "DOJO_HOME": str(home),
        "DOJO_GATEWAY_PORT": "9000",
        "DOJO_REDIS_PORT": "9000",
    }  # doubled: nothing starts
    refused = CliRunner().invoke(build(), ["up"], env=env)

    assert refused.exit_code == 1
    assert f"other users of this machine could read {home}" in refused.stderr
    assert wide(home) == {}
    assert doctor_checks.home(settings).verdict is DoctorVerdict.OK
    assert "could read" not in CliRunner().invoke(build(), ["up"], env=env).stderr


def test_a_directory_that_holds_other_files_keeps_its_rights_and_is_named(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "letter.txt").write_text("not ours")
    env = {"DOJO_HOME": str(shared), "DOJO_GATEWAY_PORT": "9000", "DOJO_REDIS_PORT": "9000"}
    refused = CliRunner().invoke(build(), ["up"], env=env)
    assert "holds other files, so it stays open" in refused.stderr
    assert {oct(path.stat().st_mode & 0o777) for path in (shared, shared / "letter.txt")} == {
        "0o777",
        "0o666",
    }
    assert (
        doctor_checks.home(Settings(home=shared)).next_step
        == "set DOJO_HOME to a directory of its own"
    )
