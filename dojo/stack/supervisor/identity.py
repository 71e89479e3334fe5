"""Which process is which.

The system reuses a pid after its process is gone, but never a pid together with its start.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import psutil


class ProcessId(msgspec.Struct, frozen=True):
    """One process of this machine, for good. `start` is opaque. See `start_of`."""

    pid: int
    start: str

    def process(self) -> psutil.Process | None:
        """The living process. None if it is gone, a zombie, or another process has its pid."""
        if start_of(self.pid) != self.start:
            return None
        try:
            found = psutil.Process(self.pid)
            return None if found.status() == psutil.STATUS_ZOMBIE else found
        except psutil.NoSuchProcess:
            return None


def start_of(pid: int) -> str:
    """When the process that has this pid now was started. "" if there is none.

    On Linux it is the boot and the clock ticks since. A start in wall time would move when the
    machine's clock is set.
    """
    try:
        if sys.platform == "linux":
            # The command's name comes second, in parentheses, and may hold any character. Field 22
            # is the start.
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{boot}:{ticks}"
        return f"{psutil.Process(pid).create_time():.2f}"
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return ""


def identify(pid: int) -> ProcessId | None:
    """The id of the process that has this pid now."""
    start = start_of(pid)
    return ProcessId(pid, start) if start else None


def session_members(sessions: Iterable[int]) -> dict[int, list[ProcessId]]:
    """The processes in each of these sessions, in one pass over the machine's processes.

    Sessions hold more than process groups. Airflow gives each task a group of its own, inside the
    same session.
    """
    members: dict[int, list[ProcessId]] = {session: [] for session in sessions}
    for pid in psutil.pids():
        try:
            session = os.getsid(pid)
        except (ProcessLookupError, PermissionError):
            continue
        if session in members and (found := identify(pid)) is not None:
            members[session].append(found)
    return members


def resident_bytes(members: Iterable[ProcessId]) -> int:
    """Resident memory together. Shared pages count for each process."""
    total = 0
    for member in members:
        if (process := member.process()) is not None:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    return total


def end(members: Sequence[ProcessId], grace: float) -> list[ProcessId]:
    """Send SIGTERM, wait `grace` seconds, send SIGKILL. Returns the processes that were killed.

    Never touches another process that has got the pid of a member.
    """
    _signal(members, signal.SIGTERM)
    left = _wait(members, grace)
    _signal(left, signal.SIGKILL)
    _wait(left, 5)  # the kernel ends them at once, unless they sit in an uninterruptible read
    return left


def _signal(members: Iterable[ProcessId], number: signal.Signals) -> None:
    for member in members:
        if (process := member.process()) is not None:
            try:
                process.send_signal(number)  # psutil compares the start once more
            except psutil.NoSuchProcess:
                continue


def _wait(members: Sequence[ProcessId], seconds: float) -> list[ProcessId]:
    deadline = time.monotonic() + seconds
    left = list(members)
    while left and time.monotonic() < deadline:
        left = [member for member in left if member.process() is not None]
        time.sleep(0.02)
    return [member for member in left if member.process() is not None]
