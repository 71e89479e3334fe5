"""A fault writes its receipt before it acts, and its undo works from any point and repeatedly."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psutil
import pytest
from redis import Redis
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.core.lake import Lake, UnreadableFileError, write_parquet_atomically
from dojo.core.settings import Settings, load_settings
from dojo.core.state.clock import RedisWorldClock
from dojo.drills.faults.broken_file import BrokenFile
from dojo.drills.faults.fault import FaultRefusedError, Receipt
from dojo.drills.faults.stray_recorder import COMMAND, PORT_VARIABLE, StrayRecorder
from dojo.drills.record import DrillRun, Records, Step
from dojo.shop.events import TRANSACTIONS
from tests.support.servers import RedisServer, free_port, wait_until

pytestmark = pytest.mark.integration

NOW = datetime(2025, 1, 6, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, redis_server: RedisServer) -> Settings:
    RedisWorldClock(Redis.from_url(redis_server.url)).set(NOW, 0)
    return load_settings(home=tmp_path, redis_url=redis_server.url)


def yesterdays_file(settings: Settings) -> Path:
    day = (NOW - timedelta(days=1)).date()
    file = Lake(settings.lake_dir).partition(TRANSACTIONS, day) / "part-17-0.parquet"
    write_parquet_atomically(pl.DataFrame({"event_id": [str(n) for n in range(500)]}), file)
    return file


def test_half_a_file_breaks_its_day_and_only_it_is_taken_back(settings: Settings) -> None:
    whole, written = yesterdays_file(settings), []
    content, fault = whole.read_bytes(), BrokenFile()

    def write_down(receipt: Receipt) -> None:
        assert not Path(receipt["file"]).exists(), "the receipt comes first"
        written.append(receipt)

    fault.inject(settings, write_down)
    (receipt,) = written
    lake = Lake(settings.lake_dir)
    assert lake.unreadable() == [Path(receipt["file"])]
    with pytest.raises(UnreadableFileError), lake.naming_unreadable():
        pl.scan_parquet(lake.files(TRANSACTIONS)).collect()
    assert Path(receipt["file"]).stat().st_mtime == whole.stat().st_mtime
    assert receipt["file"] in fault.left(settings, receipt)
    for _ in range(2):
        fault.undo(settings, receipt)
        assert fault.left(settings, receipt) == ""
    assert lake.files(TRANSACTIONS) == [whole]
    assert whole.read_bytes() == content


def test_without_a_file_of_yesterday_it_is_refused_and_nothing_is_written(
    settings: Settings,
) -> None:
    written: list[Receipt] = []
    with pytest.raises(FaultRefusedError, match="2025-01-05"):
        BrokenFile().inject(settings, written.append)
    assert written == []


def test_a_drill_whose_process_was_killed_is_undone_by_the_next_down(settings: Settings) -> None:
    """The fault is in the lake, and no server runs any more."""
    whole, records, run = yesterdays_file(settings), Records(settings.home), a_run("half-a-file")
    records.begin(run)

    def write_down(receipt: Receipt) -> None:
        run.steps.append(Step(fault="broken_file", receipt=receipt))
        records.write(run)

    BrokenFile().inject(settings, write_down)
    lake = Lake(settings.lake_dir)
    assert len(lake.files(TRANSACTIONS)) == 2
    away = {"DOJO_HOME": str(settings.home), "DOJO_REDIS_URL": f"redis://127.0.0.1:{free_port()}"}
    ended = CliRunner().invoke(build(), ["down"], env=away)
    assert ended.exit_code == 0, ended.stderr
    assert "a drill was open: stopped, and undone. It was half-a-file" in ended.stderr
    assert lake.files(TRANSACTIONS) == [whole]
    assert records.open() is None
    assert records.read(run.number).state == "stopped"
    again = CliRunner().invoke(build(), ["drill", "stop"], env=away)
    assert "no drill is open" in again.stderr


def a_run(name: str) -> DrillRun:
    return DrillRun(number=1, drill=name, seal="", salt="")


@pytest.fixture
def recorder(settings: Settings) -> Iterator[tuple[psutil.Process, Receipt]]:
    """Start a recorder as the fault does, with its receipt, without any stack."""
    port = free_port()
    environment = {
        **os.environ, "DOJO_HOME": str(settings.home), "DOJO_REDIS_URL": settings.redis,
        PORT_VARIABLE: str(port),
    }  # fmt: skip
    child = subprocess.Popen(COMMAND, env=environment, start_new_session=True)
    process = psutil.Process(child.pid)
    yield process, {"port": port}
    child.kill()
    child.wait(10)


def test_a_stray_recorder_is_found_by_its_port_and_ended_also_when_it_is_stopped(
    settings: Settings, recorder: tuple[psutil.Process, Receipt]
) -> None:
    process, receipt = recorder
    lock = settings.lake_dir / ".recorder.lock"
    wait_until(lambda: lock.exists() and str(process.pid) in lock.read_text(), 30, "it owns")
    os.kill(process.pid, signal.SIGSTOP)
    fault = StrayRecorder()
    assert str(process.pid) in fault.left(settings, receipt)
    assert fault.left(settings, {"port": free_port()}) == "", "another port is another process"
    for _ in range(2):
        fault.undo(settings, receipt)
        assert fault.left(settings, receipt) == ""
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
