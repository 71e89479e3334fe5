"""A version in a child process. This is the parent's side, `worker` is the child's.

The parent starts and watches the child, kills it when it hangs, and starts it again. Without a
working process, every row fails at once (DOWN). The caller can then ask another arm without delay.
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
from services.gateway.children import CRASHED, HUNG, NOT_STARTED, Backoff
from services.gateway.sandbox.frames import (
    DOWN,
    QUEUE_FULL,
    TIMEOUT,
    Greeting,
    Result,
    ScoringBatch,
)
from services.gateway.sandbox.link import Call, SandboxLink

WATCH_EVERY_SECONDS = 0.1
# Rows waiting in the process. At 20 microseconds a row a full queue is 20 ms of work. Beyond it,
# every caller would miss its deadline.
MAX_WAITING_ROWS = 1024

# Added to the gateway's niceness for a slow version. On a contested core it gets a third of what
# the gateway gets, so that other models keep their latency. Callers wait for it, so it gets more
# than a shadow with its 10.
SLOW_NICENESS = 5

# One thread, so that the sandbox takes no second core from serving. ONNX Runtime has a setting of
# its own. NumPy's BLAS reads only these variables.
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

_log = structlog.get_logger("gateway.sandbox")

WORKER = "services.gateway.sandbox.worker"


@dataclass(frozen=True, slots=True)
class Priority:
    """A process' share of the machine, and the gateway's patience with it.

    Attributes:
        niceness: Added to the gateway's own.
        hang_seconds: Silence while results are due, after which the process is killed. A scoring
            takes microseconds.
        start_seconds: Limit until the process scores. It takes half a second on an idle machine
            (import of ONNX Runtime, verification, warm-up).
    """

    niceness: int
    hang_seconds: float
    start_seconds: float


class SandboxUnavailableError(RuntimeError):
    """The process did not get ready to score."""


class Sandbox:
    """One version's child process.

    Args:
        directory: The bundle.
        sha256: The bundle's hash.
        priority: The process' share of the machine.
        slow_seconds: From this time on a version is slow (services/gateway/sandbox/pace.py).
        run: Rows that share a run. A row that crashes the process costs them their scores.
        restarted: Called with the reason each time a process is lost.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        sha256: str,
        priority: Priority,
        slow_seconds: float,
        run: int,
        restarted: Callable[[str], None],
    ) -> None:
        self._name = name
        self._arguments = (str(directory), sha256, str(slow_seconds), str(run))
        self._run = run
        self._priority = priority
        self._restarted = restarted
        self._link: SandboxLink | None = None  # only while the child scores
        self._task: asyncio.Task[None] | None = None
        self._next_row = 0
        self.run_seconds = 0.0  # of as many rows as share a run
        self.state = "starting"

    async def start(self) -> None:
        """Start the process, wait until it scores, and keep it running until `close`.

        Raises:
            CorruptBundleError: The version does not pass its verification in the child.
            SandboxUnavailableError: The child neither passed nor failed.
        """
        process, link = await self._spawn()
        self._task = asyncio.create_task(
            self._keep_running(process, link), name=f"sandbox {self._name}"
        )

    async def close(self) -> None:
        """End the process. Rows waiting in it fail."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def pid(self) -> int | None:
        """Id of the process that scores now."""
        return self._pid if self._link is not None else None

    @property
    def idle(self) -> bool:
        return self._link is None or not self._link.waiting

    def score(
        self, values: bytes, count: int, timeout: float | None
    ) -> asyncio.Future[list[Result]]:
        """Score rows. The future never fails. A row without a score has a reason.

        Rows that could not be scored in time behind the waiting ones fail at once. Waiting would
        cost them their deadline, and others the time of a late score.

        Args:
            values: float32, `count` rows one after the other.
            timeout: Seconds after which missing rows have failed. None waits as long as the
                process lives.
        """
        loop = asyncio.get_running_loop()
        call = Call(self._next_row, count, loop.create_future())
        self._next_row += count
        if self._link is None or self._link.is_closing:
            call.end(DOWN)
        elif timeout is not None and timeout <= 0:
            call.end(TIMEOUT)
        elif len(self._link.waiting) + count > self._room(timeout):
            call.end(QUEUE_FULL)
        else:
            until = 0.0 if timeout is None else time.monotonic() + timeout
            if timeout is not None:
                call.timer = loop.call_later(timeout, call.end, TIMEOUT)
            self._link.send(ScoringBatch(call.first, until, values), count, call)
        return call.future

    def _room(self, timeout: float | None) -> int:
        """Return the rows that may wait. Into an empty process a row always comes."""
        if timeout is None or not self._link or not self._link.waiting:
            return MAX_WAITING_ROWS
        return int(min(MAX_WAITING_ROWS, timeout * self._run / max(self.run_seconds, 1e-9)))

    async def _keep_running(self, process: subprocess.Popen[bytes], link: SandboxLink) -> None:
        backoff = Backoff()
        while True:
            started = time.monotonic()
            try:
                reason = await self._watch(process, link)
            finally:
                self._link = None
                link.fail_waiting(CRASHED)
                await _end(process, link)
            lived = time.monotonic() - started
            while True:
                pause, lived = backoff.after(lived), 0.0
                self._restarted(reason)
                self.state = f"down: {reason}"
                _log.warning(
                    "a sandbox is started again",
                    sandbox=self._name,
                    reason=reason,
                    wait_seconds=pause,
                )
                await asyncio.sleep(pause)
                try:
                    process, link = await self._spawn()
                    break
                except (CorruptBundleError, SandboxUnavailableError, OSError) as error:
                    reason = NOT_STARTED
                    _log.error("a sandbox does not start", sandbox=self._name, reason=str(error))

    async def _watch(self, process: subprocess.Popen[bytes], link: SandboxLink) -> str:
        """Watch the process until it is of no more use. Returns the reason."""
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
            # Started on the main thread, although this takes it a millisecond or two. The child
            # asks the kernel to die with the thread that started it.
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    WORKER,
                    str(theirs.fileno()),
                    str(os.getpid()),
                    *self._arguments,
                ],
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **THREADS},
                stdin=subprocess.DEVNULL,
            )
        link = SandboxLink(loop)
        try:
            # Set here, before the child's imports. These alone are half a second of computing.
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
        if greeting.pace is not None:
            self.run_seconds = greeting.pace.run_seconds
            if greeting.pace.is_slow:
                niceness = own + max(SLOW_NICENESS, self._priority.niceness)
                os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
        self._pid, self._link, self.state = process.pid, link, "ok"
        return process, link

    async def _greeting(self, link: SandboxLink) -> Greeting:
        lost = asyncio.create_task(link.lost.wait())
        try:
            await asyncio.wait(
                (link.greeting, lost),
                timeout=self._priority.start_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            lost.cancel()
        if link.greeting.done():
            return link.greeting.result()
        ended = link.lost.is_set()
        late = f"it did not score within {self._priority.start_seconds:g} s"
        raise SandboxUnavailableError("it ended before it scored" if ended else late)


async def _end(process: subprocess.Popen[bytes], link: SandboxLink) -> None:
    link.close()
    process.kill()  # has no effect after its end
    while process.poll() is None:
        await asyncio.sleep(0.01)
