"""A fault writes its receipt before it acts, and its undo works from any point and repeatedly."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from redis import Redis
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.core.lake import Lake, UnreadableFileError, write_parquet_atomically
from dojo.core.settings import Settings, load_settings
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.drills.faults.data.broken_file import BrokenFile
from dojo.drills.faults.data.store_setting import StoreSetting
from dojo.drills.faults.data.world_drift import HiddenDrift
from dojo.drills.faults.fault import FaultRefusedError, Receipt
from dojo.drills.faults.monitoring.changed_file import ChangedFile
from dojo.drills.faults.monitoring.forgotten_silence import ForgottenSilence
from dojo.drills.faults.processes.side_program import SideProgram
from dojo.drills.faults.processes.stray_recorder import COMMAND, PORT_VARIABLE, StrayRecorder
from dojo.drills.faults.versions.lost_bundle import LostBundle
from dojo.drills.record import DrillRun, Records, Step
from dojo.shop.events import TRANSACTIONS
from dojo.shop.world_drift import DriftTable
from dojo.stack.observability.commands import alertmanager_command
from dojo.stack.observability.files import prepare_alertmanager
from tests.support.installed import installed
from tests.support.servers import RedisServer, Server, free_port, http_ok, wait_until

pytestmark = pytest.mark.integration

NOW = datetime(2025, 1, 6, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, redis_server: RedisServer) -> Settings:
    RedisWorldClock(Redis.from_url(redis_server.url)).set(NOW, 0)
    return load_settings(home=tmp_path, redis_url=redis_server.url)


@pytest.fixture
def second_redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "second").mkdir()
    server = RedisServer(tmp_path / "second")
    server.start()
    yield server
    server.stop()


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
        run.steps.append(Step(fault={"kind": "broken_file"}, receipt=receipt))
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


def test_a_hidden_change_of_the_world_acts_and_is_told_when_it_ends(
    settings: Settings, redis_server: RedisServer
) -> None:
    fault, written = HiddenDrift(kind="world_drift", drift="unit_bug"), list[Receipt]()
    table, audit = redis_drifts(redis_server)
    fault.inject(settings, written.append)
    (active,) = table.active()
    assert active.hidden
    assert active.intensity(NOW + timedelta(hours=1)) == 1.0
    env = {"DOJO_HOME": str(settings.home), "DOJO_REDIS_URL": redis_server.url}
    shown = CliRunner().invoke(build(), ["world", "drift", "list", "--json"], env=env)
    assert shown.stdout.strip() == "[]"
    ended = CliRunner().invoke(
        build(), ["world", "drift", "stop", "--all", "--why", "end it"], env=env
    )
    assert ended.exit_code == 0, ended.stderr
    assert table.active() == (active,), "the person cannot end what is hidden"
    assert audit() == []
    assert "goes on" in fault.left(settings, written[0])
    for _ in range(2):
        fault.undo(settings, written[0])
        assert fault.left(settings, written[0]) == ""
    (past,) = table.all()
    assert past.ended is not None
    assert not past.hidden
    replayed = settings.model_copy(update={"world_source": "replay"})
    with pytest.raises(FaultRefusedError, match="simulated"):
        HiddenDrift(kind="world_drift", drift="concept").inject(replayed, written.append)


def redis_drifts(server: RedisServer) -> tuple[DriftTable, Callable[[], list[Any]]]:
    client = Redis.from_url(server.url)
    return DriftTable(client), lambda: list(AuditTrail(client).entries())


def test_limits_of_the_store_are_taken_back_and_a_persons_own_are_kept(
    settings: Settings, second_redis: RedisServer
) -> None:
    apart = settings.model_copy(update={"online_store_url": second_redis.url})
    store = Redis.from_url(second_redis.url, decode_responses=True)
    shipped = store.config_get("maxmemory*")
    fault = StoreSetting(kind="store_setting", memory_room=1, policy="allkeys-lru")
    written: list[Receipt] = []
    fault.inject(apart, written.append)
    assert store.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"
    assert int(store.config_get("maxmemory")["maxmemory"]) > store.info()["used_memory"] - 100_000
    assert "maxmemory" in fault.left(apart, written[0])
    store.config_set("maxmemory", 987_654_321)  # a person's own mend
    for _ in range(2):
        fault.undo(apart, written[0])
        assert fault.left(apart, written[0]) == ""
    assert store.config_get("maxmemory")["maxmemory"] == "987654321"
    policy = store.config_get("maxmemory-policy")["maxmemory-policy"]
    assert policy == shipped["maxmemory-policy"]
    with pytest.raises(FaultRefusedError, match="no Redis of its own"):
        fault.inject(settings, written.append)


def test_a_store_that_is_gone_has_its_shipped_limits(settings: Settings) -> None:
    away = settings.model_copy(update={"online_store_url": f"redis://127.0.0.1:{free_port()}"})
    fault = StoreSetting(kind="store_setting", memory_room=1)
    receipt: Receipt = {"before": {"maxmemory": "0"}, "set": {"maxmemory": "1"}}
    fault.undo(away, receipt)
    assert fault.left(away, receipt) == ""


def test_a_program_beside_the_stack_runs_until_it_is_ended_and_leaves_nothing(
    settings: Settings, second_redis: RedisServer
) -> None:
    apart = settings.model_copy(update={"online_store_url": second_redis.url})
    fault = SideProgram(
        kind="side_program", program="support_dashboard", arguments=("{online_store}",)
    )
    written: list[Receipt] = []

    def write_down(receipt: Receipt) -> None:
        assert not Path(receipt["file"]).exists(), "the receipt comes first"
        written.append(receipt)

    fault.inject(apart, write_down)
    store = Redis.from_url(second_redis.url, decode_responses=True)
    wait_until(
        lambda: any(one["name"] == "support-dashboard" for one in store.client_list()),
        20,
        "it asks",
    )
    told = fault.left(apart, written[0])
    assert told.startswith("process ")
    child = psutil.Process(int(told.split()[1].rstrip(",")))
    assert "drill" not in " ".join(child.cmdline())
    assert not any("DOJO" in name for name in child.environ())
    for _ in range(2):
        fault.undo(apart, written[0])
        assert fault.left(apart, written[0]) == ""
    assert not Path(written[0]["file"]).parent.exists()


def test_a_program_that_fails_at_once_is_refused(settings: Settings) -> None:
    broken = SideProgram(kind="side_program", program="support_dashboard")  # without its address
    written: list[Receipt] = []
    with pytest.raises(FaultRefusedError, match="support_dashboard ended with 1"):
        broken.inject(settings, written.append)
    broken.undo(settings, written[0])
    assert not Path(written[0]["file"]).exists()


def test_a_changed_file_is_taken_back_and_a_mended_one_is_left(settings: Settings) -> None:
    fault = ChangedFile(
        kind="changed_file", file=Path("prometheus/a.yml"), shipped="port: 1", changed="port: 2",
        process="prometheus",
    )  # fmt: skip
    file = settings.home / "prometheus" / "a.yml"
    file.parent.mkdir(parents=True)
    file.write_text("port: 1\nname: a\nport: 1\n")
    written: list[Receipt] = []
    fault.inject(settings, written.append)
    assert file.read_text() == "port: 2\nname: a\nport: 2\n"
    assert str(file) in fault.left(settings, written[0])
    for _ in range(2):
        fault.undo(settings, written[0])
        assert file.read_text() == "port: 1\nname: a\nport: 1\n"
        assert fault.left(settings, written[0]) == ""
    file.write_text("port: 3\n")
    with pytest.raises(FaultRefusedError, match="not as it was shipped"):
        fault.inject(settings, written.append)


def test_a_forgotten_silence_is_there_until_it_is_undone(
    settings: Settings, tmp_path: Path
) -> None:
    port = free_port()
    own = settings.model_copy(update={"alertmanager_port": port})
    command = alertmanager_command(
        installed("prometheus-alertmanager", "alertmanager"), own, prepare_alertmanager(own)
    )
    server = Server("alertmanager", command, tmp_path)
    fault = ForgottenSilence(
        kind="forgotten_silence", area="serving", who="j.lindner", comment="flapping", days=30
    )
    written: list[Receipt] = []
    with pytest.raises(FaultRefusedError, match="took no silence"):
        fault.inject(own, written.append)
    server.start()
    try:
        wait_until(lambda: http_ok(f"http://127.0.0.1:{port}/-/ready"), 30, "it is ready")
        fault.inject(own, written.append)
        other = fault.model_copy(update={"comment": "another one"})
        other.inject(own, written.append)
        receipt = written[1]
        assert fault.left(own, receipt).startswith("silence ")
        for _ in range(2):
            fault.undo(own, receipt)
            assert fault.left(own, receipt) == ""
        assert other.left(own, written[2]), "another silence is left alone"
    finally:
        server.stop()
    fault.undo(own, receipt)  # an Alertmanager that is away mutes nothing
    assert fault.left(own, receipt) == ""


def test_lost_files_come_back_unless_others_stand_there(settings: Settings) -> None:
    fault = LostBundle(kind="lost_bundle", model="fraud_detection")
    vault = settings.home / "drills" / "vault"
    moved = [[str(settings.home / name), str(vault / name)] for name in ("stored", "cached")]
    for _, target in moved:
        Path(target).mkdir(parents=True)
        (Path(target) / "model.onnx").write_text("champion")
    (settings.home / "cached").mkdir()
    (settings.home / "cached" / "model.onnx").write_text("of a restored version")
    for _ in range(2):
        fault.undo(settings, {"moved": moved})
        assert (settings.home / "stored" / "model.onnx").read_text() == "champion"
        assert (settings.home / "cached" / "model.onnx").read_text() == "of a restored version"
        assert not vault.exists()
