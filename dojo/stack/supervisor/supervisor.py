"""The supervisor: one loop that examines each process, acts on it, and writes down its status."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import structlog

from dojo.core.state.clock import wall_now
from dojo.stack.health import Prober
from dojo.stack.paths import log_file
from dojo.stack.status import ProcessStatus, StackStatus, write_status
from dojo.stack.supervisor import lifecycle
from dojo.stack.supervisor.child import Child
from dojo.stack.supervisor.identity import ProcessId, resident_bytes, session_members, start_of
from dojo.stack.supervisor.lifecycle import Life, ProcessState
from dojo.stack.supervisor.logfiles import rotate
from dojo.stack.supervisor.overrides import Override, OverrideError, read_override
from dojo.stack.table import ProcessSpec, stop_order

TICK_SECONDS = 0.1  # a death is seen within this time; a tick costs about 1 ms
STATUS_SECONDS = 1.0  # reading the memory of a dozen processes costs about 5 ms
ROTATION_SECONDS = 60.0

MEGABYTE = 1_000_000  # as `dojo status` shows it

log = structlog.get_logger()


class Supervised:
    """One row of the table with its process and its history."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.life = Life()
        self.state_since = wall_now()
        self.started: datetime | None = None
        self.child: Child | None = None
        self.prober: Prober | None = None
        self.override = Override()
        self.memory_bytes = 0
        self.killed_for = ""  # why its supervisor killed it, until it is started again
        self.last_end = ""

    def become(self, life: Life) -> None:
        if life.state is not self.life.state:
            self.state_since = wall_now()
            log.info(
                "process changed",
                name=self.spec.name,
                before=self.life.state,
                after=life.state,
                deaths=life.deaths,
            )
        self.life = life

    def start(self, home: Path, environment: Mapping[str, str]) -> None:
        try:
            self.override = read_override(home, self.spec.name)
        except OverrideError as error:
            log.error("override ignored", name=self.spec.name, reason=str(error))
            self.override = Override()
        self.child = Child(self.spec, home, environment, self.override)
        self.started, self.memory_bytes, self.killed_for = wall_now(), 0, ""
        self.prober = Prober(self.spec.name, self.spec.health).start()
        self.become(lifecycle.started(self.life, time.monotonic()))

    def end(self, grace: float) -> None:
        """End its process and all that it started, if they run."""
        if self.prober is not None:
            self.prober.stop()
        if self.child is not None:
            for killed in self.child.end(grace):
                log.warning("killed", name=self.spec.name, pid=killed.pid, after_seconds=grace)
        self.child = self.prober = None

    @property
    def details(self) -> dict[str, object]:
        latest = self.prober.latest if self.prober else None
        return dict(latest.details) if latest else {}


class Supervisor:
    """Runs the processes of one home.

    Args:
        specs: Processes to run.
        environment: Environment of every process, before its own additions.
    """

    def __init__(
        self, specs: Sequence[ProcessSpec], home: Path, environment: Mapping[str, str]
    ) -> None:
        self._home = home
        self._environment = environment
        self._supervised = {spec.name: Supervised(spec) for spec in specs}
        self._id = ProcessId(os.getpid(), start_of(os.getpid()))
        self._started = wall_now()

    def run(self, stop: threading.Event) -> None:
        """Supervise until `stop` is set, then end every process. Call it on the main thread.

        A process ends before its dependencies.
        """
        status_due = rotation_due = 0.0
        try:
            while not stop.is_set():
                changed = [self._step(supervised) for supervised in self._supervised.values()]
                now = time.monotonic()
                if any(changed) or now >= status_due:
                    self._write_status()
                    status_due = now + STATUS_SECONDS
                if now >= rotation_due:
                    self._rotate_logs()
                    rotation_due = now + ROTATION_SECONDS
                stop.wait(TICK_SECONDS)
        finally:
            self._stop_all()

    def _step(self, process: Supervised) -> bool:
        """Bring one process forward. Returns whether its state changed."""
        before, now, spec = process.life.state, time.monotonic(), process.spec
        if process.child is None:
            if lifecycle.is_due(process.life, now) and (
                not spec.waits or self._dependencies_healthy(spec)
            ):
                process.start(self._home, self._environment)
        elif (code := process.child.exit_code()) is not None:
            process.last_end = process.killed_for or _ended_with(code)
            log.warning("died", name=spec.name, exit_code=code, how=process.last_end)
            process.end(grace=1)  # its children have lost the process that they worked for
            process.become(lifecycle.died(process.life, now))
        else:
            _require_memory(process)
            self._judge(process, now)
        return process.life.state is not before

    def _judge(self, process: Supervised, now: float) -> None:
        """Take in the latest health check of a running process. End it when it hangs."""
        latest = process.prober.latest if process.prober else None
        if latest is not None:
            excused = not self._dependencies_healthy(process.spec)
            process.become(lifecycle.observed(process.life, latest.healthy, excused, now))
        if lifecycle.is_hanging(process.life, process.spec.patience, now):
            log.warning(
                "hangs", name=process.spec.name, state=process.life.state, details=process.details
            )
            # SIGTERM first, because a slow process may still save its work. The loop waits for it,
            # for 2 s at most.
            process.end(grace=2)
            process.last_end = "did not answer its health checks"
            process.become(lifecycle.died(process.life, time.monotonic()))

    def _dependencies_healthy(self, spec: ProcessSpec) -> bool:
        return all(
            self._supervised[name].life.state is ProcessState.HEALTHY for name in spec.depends_on
        )

    def _stop_all(self) -> None:
        for group in stop_order([process.spec for process in self._supervised.values()]):
            with ThreadPoolExecutor(len(group)) as pool:
                list(pool.map(lambda spec: self._supervised[spec.name].end(spec.grace), group))
            for spec in group:
                process = self._supervised[spec.name]
                process.become(lifecycle.stopped(process.life, time.monotonic()))
            self._write_status()

    def _rotate_logs(self) -> None:
        for name in [*self._supervised, "supervisor"]:
            rotate(log_file(self._home, name))

    def _write_status(self) -> None:
        sessions = session_members(
            p.child.session for p in self._supervised.values() if p.child is not None
        )
        write_status(
            self._home,
            StackStatus(
                supervisor=self._id,
                supervisor_memory_bytes=resident_bytes([self._id]),
                started=self._started,
                written=wall_now(),
                processes=tuple(
                    self._status_of(process, sessions) for process in self._supervised.values()
                ),
            ),
        )

    def _status_of(
        self, process: Supervised, sessions: Mapping[int, list[ProcessId]]
    ) -> ProcessStatus:
        spec, life = process.spec, process.life
        running = process.child.id if process.child else None
        members = tuple(sessions[process.child.session]) if process.child else ()
        process.memory_bytes = resident_bytes(members)
        return ProcessStatus(
            name=spec.name,
            state=life.state,
            since=process.state_since,
            id=running,
            members=members,
            started=process.started if process.child else None,
            restarts=life.restarts,
            deaths=life.deaths,
            ever_healthy=life.ever_healthy,
            memory_bytes=process.memory_bytes,
            address=spec.address,
            port=spec.port,
            further_ports=tuple(spec.further_ports.values()),
            log=os.fspath(log_file(self._home, spec.name).resolve()),
            grace_seconds=spec.grace,
            details=process.details,
            override=str(process.override),
            last_end=process.last_end,
        )


def _ended_with(code: int) -> str:
    """How a process ended, in words. A negative code is a signal."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _require_memory(process: Supervised) -> None:
    """Kill a process that takes more than its override allows, as a kernel does in a container."""
    limit, taken = process.override.memory_mb, process.memory_bytes / MEGABYTE
    if not limit or taken <= limit or process.child is None:
        return
    process.killed_for = f"out of memory, killed at {taken:.0f} MB with {limit} MB allowed"
    log.error("out of memory", name=process.spec.name, megabytes=round(taken), allowed=limit)
    process.child.kill()
