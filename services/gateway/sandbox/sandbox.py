"""A version in a child process: started, watched, killed when it hangs, started again. The parent's side; see sandbox_worker.

While there is no working process every row fails at once (DOWN), so that callers can ask somebody else without waiting.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from dojo.core.registry.bundle import CorruptBundleError
from services.gateway.sandbox.frames import (
    CRASHED,
    DOWN,
    HUNG,
    QUEUE_FULL,
    TIMEOUT,
    Greeting,
    Result,
    ScoringBatch,
)
from services.gateway.sandbox.link import Call, SandboxLink

WATCH_EVERY_SECONDS = 0.1
# Rows waiting in the process. At 20 microseconds a row a full queue is 20 ms of work; beyond it nobody's deadline would be met.
MAX_WAITING_ROWS = 1024
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.1, 10.0
# A process that lived this long starts with the first backoff again.
HEALTHY_AFTER_SECONDS = 30.0

# One thread: the sandbox must not take a second core from serving (ONNX Runtime is told so too, numpy's BLAS only here).
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

_log = structlog.get_logger("gateway.sandbox")

WORKER = "services.gateway.sandbox.worker"

# Beside CRASHED and HUNG, why a process was lost.
NOT_STARTED = "not_started"
RESTARTS = (CRASHED, HUNG, NOT_STARTED)  # why a process is started again


@dataclass(frozen=True, slots=True)
class Priority:
    """How much of the machine a process gets, and how patient the gateway is with it.

    Attributes:
        niceness: added to the gateway's own.
        hang_seconds: rows are owed and nothing came for this long: it is killed. A scoring takes microseconds.
        start_seconds: until it scores; half a second on an idle machine (import of ONNX Runtime, verification, warm-up).
    """

    niceness: int
    hang_seconds: float
    start_seconds: float


class SandboxUnavailableError(RuntimeError):
    """The process could not be brought to the point where it scores."""


class Sandbox:
    """One version's child process.

    Args:
        directory, sha256: the bundle.
        priority: what it gets of the machine.
        restarted: told each time a process was lost, with the reason.
    """

    def __init__(self, name: str, directory: Path, sha256: str, priority: Priority, restarted: Callable[[str], None]) -> None:
        self._name = name
        self._arguments = (str(directory), sha256)
        self._priority = priority
        self._restarted = restarted
        self._link: SandboxLink | None = None  # only while the child scores
        self._task: asyncio.Task[None] | None = None
        self._next_row = 0
        self.state = "starting"

    async def start(self) -> None:
        """Start the process and wait until it scores; from then on it is kept running until `close`.

        Raises:
            CorruptBundleError: the version does not pass its verification there.
            SandboxUnavailableError: it neither passed nor failed.
        """
        process, link = await self._spawn()
        self._task = asyncio.create_task(self._keep_running(process, link), name=f"sandbox {self._name}")

    async def close(self) -> None:
        """End the process. Rows in it fail."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def pid(self) -> int | None:
        """Of the process that scores now."""
        return self._pid if self._link is not None else None

    @property
    def idle(self) -> bool:
        return self._link is None or not self._link.waiting

    def score(self, values: bytes, count: int, timeout: float | None) -> asyncio.Future[list[Result]]:
        """Score rows. The future never fails: a row without a score says why.

        Args:
            values: float32, `count` rows one after the other.
            timeout: seconds after which missing rows have failed; None: as long as the process lives.
        """
        loop = asyncio.get_running_loop()
        call = Call(self._next_row, count, loop.create_future())
        self._next_row += count
        if self._link is None or self._link.is_closing:
            call.end(DOWN)
        elif timeout is not None and timeout <= 0:
            call.end(TIMEOUT)
        elif len(self._link.waiting) + count > MAX_WAITING_ROWS:
            call.end(QUEUE_FULL)
        else:
            until = 0.0 if timeout is None else time.monotonic() + timeout
            if timeout is not None:
                call.timer = loop.call_later(timeout, call.end, TIMEOUT)
            self._link.send(ScoringBatch(call.first, until, values), count, call)
        return call.future

    async def _keep_running(self, process: subprocess.Popen[bytes], link: SandboxLink) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            started = time.monotonic()
            try:
                reason = await self._watch(process, link)
            finally:
                self._link = None
                link.fail_waiting(CRASHED)
                await _end(process, link)
            if time.monotonic() - started > HEALTHY_AFTER_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            while True:
                self._restarted(reason)
                self.state = f"down: {reason}"
                _log.warning("a sandbox is started again", sandbox=self._name, reason=reason, wait_seconds=backoff)
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
                try:
                    process, link = await self._spawn()
                    break
                except (CorruptBundleError, SandboxUnavailableError, OSError) as error:
                    reason = NOT_STARTED
                    _log.error("a sandbox does not start", sandbox=self._name, reason=str(error))

    async def _watch(self, process: subprocess.Popen[bytes], link: SandboxLink) -> str:
        """Returns why the process is of no more use."""
        while not link.lost.is_set():
            if link.is_hanging(self._priority.hang_seconds):
                process.kill()
                link.fail_waiting(HUNG)
                return HUNG
            try:
                async with asyncio.timeout(WATCH_EVERY_SECONDS):
                    await link.lost.wait()
            except TimeoutError:
                continue
        return CRASHED

    async def _spawn(self) -> tuple[subprocess.Popen[bytes], SandboxLink]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            # On this thread, the main one, although it takes a millisecond or two: the child asks the kernel to die with the
            # thread that started it.
            process = subprocess.Popen(
                [sys.executable, "-m", WORKER, str(theirs.fileno()), str(os.getpid()), *self._arguments],
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **THREADS},
                stdin=subprocess.DEVNULL,
            )
        link = SandboxLink(loop)
        try:
            # From here and not in the child: its imports alone are half a second of computing.
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, process.pid, own + self._priority.niceness)
            ours.setblocking(False)
            await loop.create_unix_connection(lambda: link, sock=ours)
            greeting = await self._greeting(link)
        except BaseException:
            await _end(process, link)
            raise
        if greeting.refused:
            await _end(process, link)
            raise CorruptBundleError(greeting.refused)
        self._pid, self._link, self.state = process.pid, link, "ok"
        return process, link

    async def _greeting(self, link: SandboxLink) -> Greeting:
        lost = asyncio.create_task(link.lost.wait())
        try:
            await asyncio.wait((link.greeting, lost), timeout=self._priority.start_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
        if link.greeting.done():
            return link.greeting.result()
        ended = link.lost.is_set()
        late = f"it did not score within {self._priority.start_seconds:g} s"
        raise SandboxUnavailableError("it ended before it scored" if ended else late)


async def _end(process: subprocess.Popen[bytes], link: SandboxLink) -> None:
    link.close()
    process.kill()  # nothing when it has ended
    while process.poll() is None:
        await asyncio.sleep(0.01)
