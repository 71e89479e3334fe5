"""Starting, watching and stopping a stack from outside its supervisor."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from dojo.core.settings import Settings
from dojo.stack.environment import check_same_world, remember
from dojo.stack.paths import log_file, status_file
from dojo.stack.ports import doubled_ports, is_of_this_machine, taken_ports
from dojo.stack.status import ProcessStatus, StackStatus, read_status
from dojo.stack.supervisor.identity import ProcessId, end, identify
from dojo.stack.supervisor.lifecycle import ProcessState
from dojo.stack.supervisor.lock import AlreadyRunningError, SupervisorLock
from dojo.stack.supervisor.logfiles import last_lines
from dojo.stack.table import processes

# Seconds. MLflow's first start on two busy cores is the longest step, about 60 s. Beyond this limit
# something is wrong.
START_TIMEOUT_SECONDS = 300.0

# A process that died this often and was never healthy will not start by itself. The backoffs before
# took 1 + 2 s.
HOPELESS_DEATHS = 3


class StackError(RuntimeError):
    """The stack cannot be started.

    `process` names the failed process. `log_tail` holds the last lines of its log.
    """

    def __init__(self, message: str, process: str = "", log_tail: list[str] | None = None) -> None:
        super().__init__(message)
        self.process = process
        self.log_tail = log_tail or []


class NotRunningError(StackError):
    """The stack has no such process."""


class PortsTakenError(StackError):
    """Other programs have ports that the stack needs."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What `stop` did.

    `leftovers` counts the processes that outlived their supervisor and were ended one by one.
    """

    was_running: bool
    leftovers: int
    seconds: float


def running(home: Path) -> StackStatus | None:
    """The status of the stack that runs on this home, or None."""
    status = read_status(home)
    if status is None or status.supervisor is None or status.supervisor.process() is None:
        return None
    return status


def launch(settings: Settings, environment: Mapping[str, str]) -> ProcessId:
    """Start a supervisor, detached from this process and its terminal.

    Returns as soon as the supervisor writes its status.

    Args:
        environment: Environment of the stack, which is remembered. `settings` must come from its
            `DOJO_*` variables.

    Raises:
        PortsTakenError, WorldConflictError, StackError
    """
    home = settings.home
    check_same_world(home, environment)
    stop_leftovers(home)
    specs = processes(settings)
    if not is_of_this_machine(settings.host):
        raise StackError(f"DOJO_HOST: {settings.host} is no address of this machine")
    if problems := doubled_ports(specs) or [
        str(taken) for taken in taken_ports(specs, settings.host)
    ]:
        raise PortsTakenError("\n".join(problems))
    remember(home, environment)
    log = log_file(home, "supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "dojo.stack.supervisor"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,
        )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status = running(home)
        if status is not None and status.supervisor is not None:
            return status.supervisor
        if supervisor.poll() is not None:
            break
        time.sleep(0.05)
    raise StackError("the supervisor did not start", "supervisor", last_lines(log, 15))


def wait_until_healthy(
    home: Path,
    progress: Callable[[StackStatus], None] = lambda _: None,
    timeout: float = START_TIMEOUT_SECONDS,
) -> StackStatus:
    """Watch a stack until everything is healthy.

    Raises:
        StackError: A process cannot be started, the supervisor is gone, or `timeout` seconds are
            over.
    """
    deadline = time.monotonic() + timeout
    while True:
        status = running(home)
        if status is None:
            raise StackError(
                "the supervisor ended", "supervisor", last_lines(log_file(home, "supervisor"), 15)
            )
        progress(status)
        if status.healthy:
            return status
        late = time.monotonic() > deadline
        for process in status.processes:
            hopeless = process.deaths >= HOPELESS_DEATHS and not process.ever_healthy
            if hopeless or (
                late and process.state not in (ProcessState.HEALTHY, ProcessState.WAITING)
            ):
                what = (
                    f"died {process.deaths} times"
                    if hopeless
                    else f"is not healthy after {timeout:.0f} s"
                )
                raise StackError(
                    f"{process.name} {what}",
                    process.name,
                    last_lines(log_file(home, process.name), 20),
                )
        time.sleep(0.2)


def restart(home: Path, name: str, timeout: float = START_TIMEOUT_SECONDS) -> bool:
    """End a process of a running stack, and return once its successor is healthy.

    The supervisor starts the successor.

    Returns:
        Whether it had to be killed.

    Raises:
        NotRunningError: The stack does not run it.
        StackError: It dies again and again, or takes longer than `timeout` seconds.
    """
    before = _process(home, name)
    killed = bool(end([before.id], before.grace_seconds)) if before.id is not None else False
    deadline = time.monotonic() + timeout
    while (now := _process(home, name)).id in (
        None,
        before.id,
    ) or now.state is not ProcessState.HEALTHY:
        died = now.deaths - before.deaths
        if died > HOPELESS_DEATHS or time.monotonic() > deadline:  # the end above is one of them
            what = (
                f"died {died} times"
                if died > HOPELESS_DEATHS
                else f"is not healthy after {timeout:.0f} s"
            )
            raise StackError(f"{name} {what}", name, last_lines(log_file(home, name), 20))
        time.sleep(0.2)
    return killed


def process_of(home: Path, name: str) -> psutil.Process | None:
    """Return a process of the running stack. None while it is absent or being restarted."""
    found = _status_of(home, name)
    return found.id.process() if found is not None and found.id is not None else None


def _status_of(home: Path, name: str) -> ProcessStatus | None:
    status = running(home)
    if status is None:
        return None
    return next((process for process in status.processes if process.name == name), None)


def _process(home: Path, name: str) -> ProcessStatus:
    found = _status_of(home, name)
    if found is None:
        raise NotRunningError(f"{name} does not run here", name)
    return found


def stop(home: Path, progress: Callable[[StackStatus], None] = lambda _: None) -> Stopped:
    """End the stack of this home, and the processes that an earlier, killed supervisor left.

    No process of the stack runs afterwards.
    """
    began = time.monotonic()
    status = running(home)
    if status is not None and status.supervisor is not None:
        # A process stops before its dependencies, so the graces may add up.
        patience = sum(process.grace_seconds for process in status.processes) + 10
        supervisor = status.supervisor.process()
        if supervisor is not None:
            supervisor.terminate()
        deadline = time.monotonic() + patience
        while status.supervisor.process() is not None and time.monotonic() < deadline:
            if (latest := read_status(home)) is not None:
                progress(latest)
            time.sleep(0.1)
        end([status.supervisor], grace=0)
    leftovers = stop_leftovers(home)
    return Stopped(status is not None, leftovers, time.monotonic() - began)


def stop_leftovers(home: Path) -> int:
    """End the processes of a dead supervisor, found by pid and start. Returns their number."""
    lock = SupervisorLock(home)
    try:
        lock.acquire()
    except AlreadyRunningError:
        return 0  # it lives: these are its children
    try:
        status = read_status(home)
        recorded = (
            {member for process in status.processes for member in process.members}
            if status
            else set()
        )
        living = [
            member for member in recorded | _descendants(recorded) if member.process() is not None
        ]
        end(
            living,
            grace=(
                max((process.grace_seconds for process in status.processes), default=0)
                if status
                else 0
            ),
        )
        status_file(home).unlink(missing_ok=True)
        return len(living)
    finally:
        lock.release()


def _descendants(members: set[ProcessId]) -> set[ProcessId]:
    """The processes that `members` started since the last status was written."""
    found: set[ProcessId] = set()
    for member in members:
        if (process := member.process()) is not None:
            children = (identify(child.pid) for child in process.children(recursive=True))
            found |= {child for child in children if child is not None}
    return found
