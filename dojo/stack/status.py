"""The supervisor's report: `<home>/run/status.json`, replaced as a whole about once a second."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from dojo.stack.paths import status_file
from dojo.stack.supervisor.identity import ProcessId
from dojo.stack.supervisor.lifecycle import ProcessState


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One supervised process.

    Attributes:
        id: The process itself. None while it does not run.
        members: The process and all that it started, for memory and for cleaning up after a killed
            supervisor.
        since: Wall time at which its state began.
        started: Wall time at which the running process was started.
        deaths: Deaths in a row, as in `lifecycle.Life`.
        further_ports: What it listens on besides `port`. The gateway's gRPC.
        details: The process' own report, or why it cannot be asked.
        override: What is other than in the table (supervisor/overrides.py). "" for nothing.
        last_end: How its predecessor ended. "" for the first one.
    """

    name: str
    state: ProcessState
    since: datetime
    id: ProcessId | None
    members: tuple[ProcessId, ...]
    started: datetime | None
    restarts: int
    deaths: int
    ever_healthy: bool
    memory_bytes: int
    address: str
    port: int
    log: str
    grace_seconds: float
    details: dict[str, Any]
    further_ports: tuple[int, ...] = ()
    override: str = ""
    last_end: str = ""

    @property
    def ports(self) -> str:
        return ", ".join(map(str, (self.port, *self.further_ports)))


class StackStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole stack, as of `written` (wall time).

    `supervisor` is None where each process has a container.
    """

    supervisor: ProcessId | None
    supervisor_memory_bytes: int
    started: datetime
    written: datetime
    processes: tuple[ProcessStatus, ...]

    @property
    def healthy(self) -> bool:
        return all(process.state is ProcessState.HEALTHY for process in self.processes)

    @property
    def memory_bytes(self) -> int:
        return self.supervisor_memory_bytes + sum(
            process.memory_bytes for process in self.processes
        )


def write_status(home: Path, status: StackStatus) -> None:
    """Readers see the old file or the new one, never half of one."""
    target = status_file(home)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(status))
    temporary.replace(target)


def read_status(home: Path) -> StackStatus | None:
    """The last status written, or None. It does not tell whether the supervisor still lives."""
    try:
        return msgspec.json.decode(status_file(home).read_bytes(), type=StackStatus)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
