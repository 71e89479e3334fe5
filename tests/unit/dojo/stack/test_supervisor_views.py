"""People's views of the stack: states, durations, log lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from dojo.cli.stack.log_view import last_of_all, parse, readable
from dojo.cli.stack.view import StateChanges, elapsed, print_started, world_line
from dojo.core.settings import Settings
from dojo.stack.overview import StackState, airflow_login, alerts_off, look
from dojo.stack.status import ProcessStatus, StackStatus, read_status, write_status
from dojo.stack.supervisor.identity import ProcessId
from dojo.stack.supervisor.lifecycle import ProcessState
from dojo.stack.supervisor.logfiles import last_lines, rotate
from tests.support.servers import free_port

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def process(name: str, state: ProcessState, memory: int = 0) -> ProcessStatus:
    return ProcessStatus(
        name=name,
        state=state,
        since=NOW,
        id=ProcessId(4711, "boot:1"),
        members=(ProcessId(4711, "boot:1"),),
        started=NOW,
        restarts=0,
        deaths=0,
        ever_healthy=True,
        memory_bytes=memory,
        address="http://127.0.0.1:1",
        port=1,
        log="x.log",
        grace_seconds=10,
        details={"lag": 3},
    )


def stack(*processes: ProcessStatus) -> StackStatus:
    return StackStatus(
        supervisor=ProcessId(1, "boot:0"),
        supervisor_memory_bytes=50,
        started=NOW,
        written=NOW,
        processes=processes,
    )


def test_a_stack_is_healthy_when_every_process_is_and_its_memory_counts_the_supervisor() -> None:
    redis = process("redis", ProcessState.HEALTHY, 100)
    assert stack(redis, process("mlflow", ProcessState.HEALTHY)).healthy
    assert not stack(redis, process("mlflow", ProcessState.STARTING)).healthy
    assert stack(redis, process("mlflow", ProcessState.HEALTHY, 7)).memory_bytes == 157


def test_the_gateways_grpc_is_shown_where_its_http_is(capsys: pytest.CaptureFixture[str]) -> None:
    gateway = msgspec.structs.replace(
        process("gateway", ProcessState.HEALTHY), port=8000, further_ports=(8001,)
    )
    print_started(stack(gateway), already=True)
    assert "http://127.0.0.1:1/docs, gRPC on port 8001" in capsys.readouterr().out
    assert gateway.ports == "8000, 8001"


@pytest.mark.parametrize(
    ("world", "line"),
    [
        (None, "no time yet: dojo data history"),
        (StackState(NOW, 60), "2026-11-20 12:00 UTC, 60 world seconds a second"),
        (StackState(NOW, 0), "2026-11-20 12:00 UTC, paused: dojo world resume"),
        (
            StackState(NOW, 60, standstill_seconds=2400),
            (
                "2026-11-20 12:00 UTC, [red]stands still[/] for 40m: the simulator does not move"
                " it, dojo logs simulator"
            ),
        ),
    ],
)
def test_the_worlds_line_says_how_time_moves(world: StackState | None, line: str) -> None:
    assert world_line(world, NOW) == line


def test_a_status_reads_back_as_it_was_written_and_a_broken_file_is_no_status(
    tmp_path: Path,
) -> None:
    status = stack(process("redis", ProcessState.UNHEALTHY))
    assert read_status(tmp_path) is None
    write_status(tmp_path, status)
    assert read_status(tmp_path) == status
    (tmp_path / "run" / "status.json").write_text('{"supervisor":')
    assert read_status(tmp_path) is None


def test_progress_without_a_terminal_says_each_change_once() -> None:
    said: list[str] = []
    changes = StateChanges(said.append)
    for state in (
        ProcessState.STARTING,
        ProcessState.STARTING,
        ProcessState.HEALTHY,
        ProcessState.HEALTHY,
    ):
        changes(stack(process("redis", state)))
    assert said == ["redis: starting", "redis: healthy"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (42, "42s"),
        (60, "1m"),
        (310, "5m 10s"),
        (12_000, "3h 20m"),
        (187_200, "2d 4h"),
        (86_400, "1d"),
        (-5, "0s"),
    ],
)
def test_elapsed_time_is_shown_in_its_two_largest_units(seconds: int, shown: str) -> None:
    assert elapsed(NOW - timedelta(seconds=seconds), NOW) == shown


def test_a_json_line_becomes_time_level_event_and_fields() -> None:
    text = (
        '{"event": "deadline missed", "level": "warning", "timestamp": "2026-11-20T12:00:00Z",'
        ' "process": "gateway", "after_ms": 101}'
    )
    line = parse("gateway", text, NOW)
    assert line.time == NOW
    shown = readable(line, named=True).plain
    assert shown.split() == [
        "gateway",
        f"{NOW.astimezone():%H:%M:%S}",
        "warning",
        "deadline",
        "missed",
        "after_ms=101",
    ]


def test_lines_of_other_programs_keep_their_text_and_their_time_is_understood() -> None:
    redis = parse("redis", "7827:M 20 Nov 2026 12:00:05.250 * Ready to accept connections", NOW)
    assert f"{redis.time:%Y-%m-%d %H:%M:%S.%f}" == "2026-11-20 12:00:05.250000"
    assert readable(redis, named=False).plain.endswith("* Ready to accept connections")
    mlflow = parse("mlflow", "2026/11/20 12:00:06 INFO mlflow: up", NOW)
    assert f"{mlflow.time:%Y-%m-%d %H:%M:%S}" == "2026-11-20 12:00:06"


@pytest.mark.parametrize(
    "text", ["{not json", '{"no": "timestamp"}', "Traceback (most recent call last):", ""]
)
def test_a_line_without_a_time_has_that_of_the_line_before(text: str) -> None:
    line = parse("gateway", text, NOW)
    assert (line.time, readable(line, named=False).plain) == (NOW, text)


def test_the_last_lines_of_all_logs_are_in_the_order_of_time_with_tracebacks_kept_whole(
    tmp_path: Path,
) -> None:
    def entry(second: int, event: str) -> str:
        return f'{{"event": "{event}", "timestamp": "2026-11-20T12:00:{second:02}Z"}}\n'

    (tmp_path / "a.log").write_text(entry(1, "first") + "Traceback:\n  line\n" + entry(4, "fourth"))
    (tmp_path / "b.log").write_text(entry(2, "second") + entry(3, "third"))
    files = {"a": tmp_path / "a.log", "b": tmp_path / "b.log"}
    shown, ends = last_of_all(files, 10)
    assert [line.fields.get("event", line.text.strip()) for line in shown] == [
        "first",
        "Traceback:",
        "line",
        "second",
        "third",
        "fourth",
    ]
    assert [line.fields["event"] for line in last_of_all(files, 2)[0]] == ["third", "fourth"]
    assert last_of_all(files, 0)[0] == []
    assert ends == {name: path.stat().st_size for name, path in files.items()}


def test_the_last_lines_of_a_long_log_are_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {i} {'ä' * 50}\n" for i in range(5000)))
    assert [line.split()[1] for line in last_lines(log, 3)] == ["4997", "4998", "4999"]
    assert len(last_lines(log, 10_000)) == 5000
    assert last_lines(tmp_path / "none.log", 3) == []


def test_a_log_is_rotated_under_the_process_that_writes_it(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("ab") as held:
        held.write(b"old\n" * 10)
        held.flush()
        assert not rotate(log, at_bytes=41)
        assert rotate(log, at_bytes=40)
        held.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "x.log.1").read_bytes() == b"old\n" * 10


def test_the_password_of_an_airflow_elsewhere_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "passwords.json").write_text('{"admin": "embedded"}')
    embedded = airflow_login(Settings(home=tmp_path))
    assert embedded is not None
    assert embedded.password == "embedded"
    elsewhere = airflow_login(
        Settings(home=tmp_path, airflow_url="https://ada:secret@airflow.example/")
    )
    assert elsewhere is not None
    assert (elsewhere.url, elsewhere.user, elsewhere.password) == (
        "https://airflow.example",
        "ada",
        "",
    )


def test_the_whole_status_can_be_written_as_json(tmp_path: Path) -> None:
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "passwords.json").write_text('{"admin": "embedded"}')
    settings = Settings(home=tmp_path, redis_port=free_port(), mlflow_port=free_port())
    seen = look(stack(process("redis", ProcessState.STOPPED)), settings)
    written = json.loads(msgspec.json.encode(seen))
    assert written["airflow"]["password"] == "embedded"
    assert written["world"] is None, "no Redis listens there"


def test_the_status_says_when_nobody_is_alerted_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    without, within = (
        stack(process("redis", ProcessState.HEALTHY)),
        stack(process("prometheus", ProcessState.STARTING)),
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert alerts_off(without, settings) == "prometheus and alertmanager not installed"
    assert (
        alerts_off(without, settings.model_copy(update={"without": ("prometheus",)}))
        == "left out (DOJO_WITHOUT)"
    )
    for name in ("prometheus", "alertmanager"):
        (tmp_path / name).touch(mode=0o755)
    assert alerts_off(without, settings) == "installed since: dojo down, then dojo up"
    assert alerts_off(within, settings) == ""
