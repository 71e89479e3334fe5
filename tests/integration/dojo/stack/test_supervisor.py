"""The supervisor over tiny processes: it restarts dead or hanging ones and leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from dojo.stack.control import StackError, Stopped, restart, running, stop, wait_until_healthy
from dojo.stack.paths import lock_file, log_file, status_file
from dojo.stack.status import ProcessStatus, StackStatus, write_status
from dojo.stack.supervisor.child import Child
from dojo.stack.supervisor.identity import ProcessId, identify
from dojo.stack.supervisor.lifecycle import ProcessState
from dojo.stack.supervisor.overrides import Override, override_file, overrides
from tests.integration.dojo.stack.tiny_stack import TinySpec, process_spec
from tests.support.servers import Server, free_port, wait_until

pytestmark = pytest.mark.integration

Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a supervisor over tiny processes in `tmp_path`."""
    supervisors: list[Server] = []

    def start(*table: TinySpec, name: str = "supervisor") -> Server:
        encoded = msgspec.json.encode(table).decode()
        server = Server(
            name,
            [
                sys.executable,
                "-m",
                "tests.integration.dojo.stack.tiny_stack",
                str(tmp_path),
                encoded,
            ],
            tmp_path,
        )
        server.start()
        supervisors.append(server)
        return server

    yield start
    stop(tmp_path)
    for supervisor in supervisors:
        supervisor.stop()


def tiny(name: str, *options: str, **more: object) -> TinySpec:
    return TinySpec(name, free_port(), options, **more)  # type: ignore[arg-type]


def look(home: Path, name: str) -> ProcessStatus | None:
    """Return the supervisor's status of a process, or None before the first status."""
    status = running(home)
    return (
        next((process for process in status.processes if process.name == name), None)
        if status
        else None
    )


def seen(home: Path, name: str) -> ProcessStatus:
    found = look(home, name)
    assert found is not None
    return found


def wait_for(
    home: Path, name: str, state: ProcessState, restarts: int = 0, within: float = 15
) -> ProcessStatus:
    def reached() -> bool:
        found = look(home, name)
        return found is not None and found.state is state and found.restarts >= restarts

    wait_until(
        reached,
        within,
        f"{name} is {state} after {restarts} restarts; it is {look(home, name)}",
        every=0.05,
    )
    return seen(home, name)


def pid_of(process: ProcessStatus) -> int:
    assert process.id is not None
    return process.id.pid


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_process_starts_only_when_what_it_depends_on_is_healthy(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "first.sick").touch()
    start(tiny("second", depends_on=("first",)), tiny("first"))
    wait_for(tmp_path, "first", ProcessState.STARTING)
    wait_until(
        lambda: seen(tmp_path, "first").details.get("pid") is not None,
        10,
        "first answers its check, as sick",
    )
    assert seen(tmp_path, "second").state is ProcessState.WAITING
    assert not (tmp_path / "second.starts").exists()
    (tmp_path / "first.sick").unlink()
    wait_for(tmp_path, "second", ProcessState.HEALTHY)


def test_what_is_killed_comes_back_and_what_it_had_started_does_not_stay(
    start: Start, tmp_path: Path
) -> None:
    start(tiny("worker", "parent"), tiny("neighbour"))
    before = wait_for(tmp_path, "worker", ProcessState.HEALTHY)
    neighbour = wait_for(tmp_path, "neighbour", ProcessState.HEALTHY)
    child = int((tmp_path / "worker.child").read_text())
    assert alive(child)
    os.kill(pid_of(before), signal.SIGKILL)
    after = wait_for(tmp_path, "worker", ProcessState.HEALTHY, restarts=1)
    assert pid_of(after) != pid_of(before)
    assert (after.restarts, after.deaths) == (1, 1)
    assert not alive(child)
    assert seen(tmp_path, "neighbour").id == neighbour.id


def test_a_crash_loop_slows_down_and_start_up_gives_up_naming_it(
    start: Start, tmp_path: Path
) -> None:
    start(tiny("broken", "crash"))
    wait_until(lambda: running(tmp_path) is not None, 10, "the supervisor writes its status")
    with pytest.raises(StackError, match="broken died 3 times") as caught:
        wait_until_healthy(tmp_path, timeout=30)
    assert caught.value.log_tail[-1] == "broken crashes, as asked"
    starts = [
        float(line.split()[0]) for line in (tmp_path / "broken.starts").read_text().splitlines()
    ]
    first, second = starts[1] - starts[0], starts[2] - starts[1]
    assert 1 <= first < 2 <= second < 4  # the delays are 1 s and 2 s, plus a tick and the start


def test_a_hanging_process_is_restarted(start: Start, tmp_path: Path) -> None:
    start(tiny("frozen", unhealthy_patience=0.5), tiny("neighbour"))
    before = wait_for(tmp_path, "frozen", ProcessState.HEALTHY)
    os.kill(pid_of(before), signal.SIGSTOP)
    after = wait_for(tmp_path, "frozen", ProcessState.HEALTHY, restarts=1, within=20)
    assert pid_of(after) != pid_of(before)
    assert not alive(pid_of(before))
    assert seen(tmp_path, "neighbour").restarts == 0


def test_nobody_is_restarted_because_what_it_depends_on_is_away(
    start: Start, tmp_path: Path
) -> None:
    start(tiny("base"), tiny("dependent", depends_on=("base",), unhealthy_patience=0.5))
    before = wait_for(tmp_path, "dependent", ProcessState.HEALTHY)
    (tmp_path / "base.sick").touch()
    wait_for(tmp_path, "base", ProcessState.UNHEALTHY)
    (tmp_path / "dependent.sick").touch()
    unhealthy = wait_for(tmp_path, "dependent", ProcessState.UNHEALTHY)
    wait_until(
        lambda: time.time() - unhealthy.since.timestamp() > 2, 5, "four times its patience passes"
    )
    assert seen(tmp_path, "dependent").id == before.id
    (tmp_path / "base.sick").unlink()  # now its own fault remains
    wait_for(tmp_path, "dependent", ProcessState.STARTING, restarts=1, within=20)


def test_stop_ends_dependents_first_kills_the_stubborn_and_leaves_nothing(
    start: Start, tmp_path: Path
) -> None:
    supervisor = start(
        tiny("base"), tiny("dependent", "stubborn", "parent", depends_on=("base",), grace=0.5)
    )
    pids = [
        pid_of(wait_for(tmp_path, name, ProcessState.HEALTHY)) for name in ("dependent", "base")
    ]
    child = int((tmp_path / "dependent.child").read_text())
    stopped = stop(tmp_path)
    assert stopped == Stopped(was_running=True, leftovers=0, seconds=stopped.seconds)
    assert not [pid for pid in [*pids, child] if alive(pid)]
    assert not lock_file(tmp_path).exists()
    assert not status_file(tmp_path).exists()
    assert supervisor.stop() == 0
    said = supervisor.log.read_text()
    assert said.index('"name": "dependent", "before": "healthy"') < said.index(
        '"name": "base", "before": "healthy"'
    )
    assert stop(tmp_path) == Stopped(
        was_running=False, leftovers=0, seconds=pytest.approx(0, abs=1)
    )


def test_what_a_killed_supervisor_leaves_is_ended_by_stop(start: Start, tmp_path: Path) -> None:
    supervisor = start(tiny("polite"), tiny("stubborn", "stubborn", "parent"))
    polite, stubborn = (
        wait_for(tmp_path, name, ProcessState.HEALTHY) for name in ("polite", "stubborn")
    )
    child = int((tmp_path / "stubborn.child").read_text())
    supervisor.kill()
    if sys.platform == "linux":
        wait_until(lambda: not alive(pid_of(polite)), 5, "the kernel's SIGTERM ends what heeds it")
    assert alive(pid_of(stubborn))
    assert running(tmp_path) is None
    stopped = stop(tmp_path)
    assert not stopped.was_running
    assert stopped.leftovers >= 2
    assert not [pid for pid in (pid_of(polite), pid_of(stubborn), child) if alive(pid)]
    assert not lock_file(tmp_path).exists()


def test_a_new_supervisor_takes_over_after_a_killed_one(start: Start, tmp_path: Path) -> None:
    table = (tiny("worker"),)
    first = start(*table)
    before = wait_for(tmp_path, "worker", ProcessState.HEALTHY)
    first.kill()
    stop(tmp_path)
    start(*table, name="second")
    assert pid_of(wait_for(tmp_path, "worker", ProcessState.HEALTHY)) != pid_of(before)


def test_one_home_has_one_supervisor(start: Start, tmp_path: Path) -> None:
    start(tiny("worker"))
    before = wait_for(tmp_path, "worker", ProcessState.HEALTHY)
    second = start(tiny("worker"), name="second")
    assert second.process is not None
    assert second.process.wait(10) == 3
    assert "another supervisor runs" in second.tail()
    assert seen(tmp_path, "worker").id == before.id


def test_a_process_that_only_got_the_pid_of_ours_is_never_touched(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        identity = identify(bystander.pid)
        assert identity is not None
        assert identity.process() is not None
        recycled = ProcessId(bystander.pid, identity.start + "0")
        write_status(tmp_path, status_with(recycled))
        assert running(tmp_path) is None
        assert stop(tmp_path).leftovers == 0
        assert alive(bystander.pid)

        write_status(tmp_path, status_with(identity, supervisor=ProcessId(bystander.pid, "gone")))
        assert stop(tmp_path).leftovers == 1  # the same pid with the same start time is ours
        bystander.wait(5)
    finally:
        bystander.kill()
        bystander.wait()


def status_with(member: ProcessId, supervisor: ProcessId | None = None) -> StackStatus:
    from dojo.core.state.clock import wall_now

    now = wall_now()
    process = ProcessStatus(
        name="worker",
        state=ProcessState.HEALTHY,
        since=now,
        id=member,
        members=(member,),
        started=now,
        restarts=0,
        deaths=0,
        ever_healthy=True,
        memory_bytes=0,
        address="",
        port=1,
        log="",
        grace_seconds=1,
        details={},
    )
    return StackStatus(
        supervisor=supervisor or member,
        supervisor_memory_bytes=0,
        started=now,
        written=now,
        processes=(process,),
    )


def test_each_process_writes_its_own_log_and_says_how_it_is(start: Start, tmp_path: Path) -> None:
    start(tiny("broken", "crash"), tiny("worker"))
    worker = wait_for(tmp_path, "worker", ProcessState.HEALTHY)
    assert worker.details["pid"] == pid_of(worker)
    assert worker.memory_bytes > 1_000_000
    wait_until(
        lambda: "crashes, as asked" in log_file(tmp_path, "broken").read_text(),
        10,
        "broken's log has its words",
    )
    assert "crashes" not in log_file(tmp_path, "worker").read_text()


def test_what_gave_itself_a_process_group_of_its_own_is_ended_too(tmp_path: Path) -> None:
    """Airflow gives each of its tasks its own process group.

    Then only the session holds them together.
    """
    starts_another = (
        "import subprocess, time; subprocess.Popen(['sleep', '1000'], process_group=0);"
        " time.sleep(1000)"
    )
    spec = replace(
        process_spec(tiny("airflow"), tmp_path), command=(sys.executable, "-c", starts_another)
    )
    child = Child(spec, tmp_path, os.environ, Override())
    wait_until(
        lambda: any("sleep" in command_of(member) for member in child.members()),
        10,
        "it has started another",
    )
    members = child.members()
    child.end(grace=2)
    assert not [member for member in members if alive(member.pid)]


def test_an_orderly_process_ends_what_it_started_in_its_own_time(tmp_path: Path) -> None:
    """SIGTERM would end the child at once.

    So only its parent gets SIGTERM, and asks the child for a last word first.
    """
    word = tmp_path / "word"
    other = (
        f"import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: (open({str(word)!r},"
        " 'w').close(), sys.exit())); print('listens', flush=True); time.sleep(1000)"
    )
    starter = (
        "import signal, subprocess, sys, time\nother = subprocess.Popen([sys.executable, '-c',"
        f" {other!r}])\ndef stop(*_):\n    time.sleep(0.5); other.send_signal(signal.SIGUSR1);"
        " other.wait(); sys.exit()\nsignal.signal(signal.SIGTERM, stop); print('ready',"
        " flush=True)\nwhile True: time.sleep(1)\n"
    )
    spec = replace(
        process_spec(tiny("airflow"), tmp_path),
        command=(sys.executable, "-c", starter),
        orderly=True,
    )
    child = Child(spec, tmp_path, os.environ, Override())
    wait_until(
        lambda: all(
            word in log_file(tmp_path, "airflow").read_text() for word in ("ready", "listens")
        ),
        10,
        "both run",
    )
    assert child.end(grace=5) == []
    assert word.exists()


def command_of(member: ProcessId) -> str:
    process = member.process()
    return " ".join(process.cmdline()) if process else ""


def override(home: Path, name: str, text: str) -> Path:
    file = override_file(home, name)
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_an_override_counts_from_the_next_start_on(start: Start, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    start(tiny("worker"))
    assert wait_for(tmp_path, "worker", ProcessState.HEALTHY).override == ""
    text = f"{{environment: {{TINY_VARIABLE: set}}, directory: {elsewhere}}}"
    file = override(tmp_path, "worker", text)
    restart(tmp_path, "worker")
    after = seen(tmp_path, "worker")
    assert (after.details["directory"], after.details["variable"]) == (str(elsewhere), "set")
    assert after.override == f"TINY_VARIABLE=set, directory {elsewhere}"
    file.unlink()
    restart(tmp_path, "worker")
    assert seen(tmp_path, "worker").details["variable"] == ""
    assert seen(tmp_path, "worker").override == ""


def test_a_wrong_override_is_ignored_and_told(start: Start, tmp_path: Path) -> None:
    override(tmp_path, "worker", "memory: 5")
    supervisor = start(tiny("worker"))
    assert wait_for(tmp_path, "worker", ProcessState.HEALTHY).override == ""
    assert overrides(tmp_path)["worker"].startswith("ignored: ")
    assert "override ignored" in supervisor.log.read_text()


def test_a_process_beyond_its_memory_is_killed_again_and_again(
    start: Start, tmp_path: Path
) -> None:
    file = override(tmp_path, "worker", "memory_mb: 100")
    start(tiny("worker", "large"), tiny("neighbour"))
    wait_until(
        lambda: (found := look(tmp_path, "worker")) is not None and found.restarts >= 2,
        30,
        "the worker was killed twice",
    )
    killed = seen(tmp_path, "worker")
    assert killed.last_end.startswith("out of memory, killed at ")
    assert killed.last_end.endswith("with 100 MB allowed")
    assert seen(tmp_path, "neighbour").restarts == 0
    file.unlink()
    wait_for(tmp_path, "worker", ProcessState.HEALTHY, killed.restarts + 1)
    assert seen(tmp_path, "worker").details["taken"] == 200_000_000
