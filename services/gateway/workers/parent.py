"""The parent of a gateway's workers. It serves no requests itself.

It binds the HTTP port and starts the workers, which accept from that one socket. So the next free
worker takes a connection, and a hanging one holds up none. Each worker opens the gRPC port itself,
and the kernel spreads the connections (SO_REUSEPORT). A worker that ends or hangs is started again.
SIGTERM drains the workers. When the parent is killed, they end at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.process_collector import ProcessCollector

from dojo.core.settings import Settings, variable
from services.gateway.children import CRASHED, HUNG, NOT_STARTED, RESTARTS, Backoff
from services.gateway.workers import whole
from services.gateway.workers.folders import prepare
from services.gateway.workers.link import (
    REPORT_SECONDS,
    UNASKED,
    About,
    Ask,
    Family,
    Link,
    Message,
    StateQuestion,
    StateReport,
    Whole,
    families_of,
)

# A report costs a worker a millisecond. After a kill -9, the counts of this time are lost.
WATCH_EVERY_SECONDS = 1.0
# Silence after which a worker is killed. A third of what the supervisor waits for a gateway, so it
# sees a replaced worker and no hanging gateway. The longest turn of a starved one took a second.
HANGS_AFTER_SECONDS = 10.0
# As the supervisor for a gateway: imports, and versions from the cache.
START_SECONDS = 90.0
# From SIGTERM to SIGKILL. HTTP, gRPC and the prediction log need 9 s at most, and the supervisor
# kills the parent after 10 s.
STOP_SECONDS = 9.5

EXIT_PORT_TAKEN = 3  # as uvicorn's

WORKER = "services.gateway.workers.worker"

_log = structlog.get_logger("gateway.workers")


def run_workers(settings: Settings, directory: Path) -> int:
    """Run the workers until SIGTERM. Returns the exit code.

    Args:
        directory: Of the gateway's cache and spool.
    """
    ports = {}
    for name in ("gateway_port", "gateway_grpc_port"):
        try:
            ports[name] = _bound(settings.host, getattr(settings, name))
        except OSError as error:
            _log.error("a port cannot be had", setting=variable(name), reason=str(error))
            return EXIT_PORT_TAKEN
    # It was free. The workers open it themselves, and without this try they would share it with
    # another gateway.
    ports["gateway_grpc_port"].close()
    prepare(directory, settings.gateway_workers)
    # The first worker makes the socket listen, so callers are refused until then.
    with ports["gateway_port"] as listener:
        return asyncio.run(Parent(settings.gateway_workers, listener).run())


class Worker:
    """One worker, through all its lives.

    Attributes:
        latest: The last report of the present life.
        heard_at: Monotonic time of its last message, or of its start.
        lost: Why there is no process. "" while there is one.
    """

    def __init__(self, number: int, parent: Parent) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.latest: StateReport | None = None
        self.heard_at = 0.0
        self.lost = ""
        self._parent = parent
        self._link: Link | None = None
        self._gone = asyncio.Event()  # the link
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._ticket = UNASKED

    @property
    def serving(self) -> bool:
        return self.latest is not None and self.latest.serving

    def state(self) -> whole.WorkerState:
        problem = ""
        if self.process is None:
            problem = f"{whole.DOWN}: {self.lost}" if self.lost else whole.STARTING
        elif self.latest is None:
            problem = whole.STARTING
        elif (silent := time.monotonic() - self.heard_at) > REPORT_SECONDS + WATCH_EVERY_SECONDS:
            problem = f"{whole.SILENT} for {silent:.0f} s"
        elif not self.serving:
            problem = whole.STARTING
        # A worker that starts takes no requests, so what it serves so far does not count.
        return whole.WorkerState(self.number, problem, self.latest if self.serving else None)

    async def start(self, listener: socket.socket) -> None:
        """Start a life.

        Raises:
            OSError: The machine gives no process.
        """
        self.lost = NOT_STARTED
        ours, theirs = socket.socketpair()
        with theirs:
            # From the main thread, because the kernel ends the child with the thread that made it.
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                WORKER,
                *map(str, (listener.fileno(), theirs.fileno(), self.number, os.getpid())),
                pass_fds=(listener.fileno(), theirs.fileno()),
                stdin=subprocess.DEVNULL,
            )
        self.latest, self.lost = None, ""
        self.heard_at = time.monotonic()
        self._gone = asyncio.Event()
        self._link = Link(self._receive, self._gone.set)
        await self._link.open(ours)

    async def live(self) -> tuple[int, str]:
        """Watch the process until it is gone. Returns its exit code, and the reason."""
        assert self.process is not None
        ended = asyncio.create_task(self.process.wait())
        reason, asked, starting, silent = CRASHED, self._ask(), 0, 0
        while True:
            await asyncio.wait({ended}, timeout=WATCH_EVERY_SECONDS)
            if ended.done():
                break
            # Rounds, not the clock's time. A parent that was paused has asked nothing meanwhile.
            starting = 0 if self.serving else starting + 1
            silent = silent + 1 if self.serving and not asked.done() else 0
            asked = self._ask()
            if (
                starting * WATCH_EVERY_SECONDS >= START_SECONDS
                or silent * WATCH_EVERY_SECONDS >= HANGS_AFTER_SECONDS
            ):
                reason = HUNG
                self.process.kill()
        with contextlib.suppress(TimeoutError):  # its last report may still be on the way
            async with asyncio.timeout(REPORT_SECONDS):
                await self._gone.wait()
        assert self._link is not None
        self._link.close()
        self.process, self.lost = None, reason
        self._answered(self._ticket)
        return ended.result(), reason

    async def refresh(self) -> None:
        """Have it report, if it does within REPORT_SECONDS. A worker that starts is not asked."""
        if self.process is None or self.latest is None:
            return
        answered = self._ask()
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                await answered
        except TimeoutError:
            return

    def answer(self, ticket: int, content: bytes) -> None:
        if self._link is not None:
            self._link.send(Whole(ticket, content))

    def _ask(self) -> asyncio.Future[None]:
        assert self._link is not None
        self._ticket += 1
        future = self._asked[self._ticket] = asyncio.get_running_loop().create_future()
        self._link.send(Ask(self._ticket))
        return future

    def _receive(self, message: Message) -> None:
        self.heard_at = time.monotonic()
        if isinstance(message, StateReport):
            self.latest = message
            self._answered(message.ticket)
            self._parent.reported()
        elif isinstance(message, StateQuestion):
            self._parent.asked(self, message)

    def _answered(self, last: int) -> None:
        """End the waiting for all questions up to this one. Reports come in their order."""
        for ticket in [one for one in self._asked if one <= last]:
            if not (future := self._asked.pop(ticket)).done():
                future.set_result(None)


class Parent:
    """Keeps the workers running, and answers for all of them.

    Args:
        workers: Their number.
        listener: The bound socket of the HTTP port.
    """

    def __init__(self, workers: int, listener: socket.socket) -> None:
        self._listener = listener
        self._workers = [Worker(number, self) for number in range(1, workers + 1)]
        self._ended: list[Family] = []  # counts of the workers' earlier lives
        self._served = False  # any worker, ever
        self._stop = asyncio.Event()
        self._exit_code = 0
        self._answers: set[asyncio.Task[None]] = set()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._restarts = Counter(
            "dojo_gateway_worker_restarts",
            "Times that one of several workers ended or hung and was started again.",
            ["reason"],
            registry=self._registry,
        )
        for reason in RESTARTS:
            self._restarts.labels(reason)

    async def run(self) -> int:
        """Keep the workers running until SIGTERM or SIGINT. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        kept = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stop, *kept}, return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        # The workers hold the socket as well. Callers are refused once the last has closed it.
        self._listener.close()
        _log.info("stopping the workers")
        self._signal(signal.SIGTERM)
        _, left = await asyncio.wait(kept, timeout=STOP_SECONDS)
        if left:
            _log.warning("killing the workers that did not end", after_seconds=STOP_SECONDS)
            self._signal(signal.SIGKILL)
        await asyncio.gather(*kept)
        return self._exit_code

    def reported(self) -> None:
        self._served = self._served or any(worker.serving for worker in self._workers)

    def asked(self, by: Worker, question: StateQuestion) -> None:
        """Answer a worker, without holding up others."""
        task = asyncio.create_task(self._answer(by, question))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _keep(self, worker: Worker) -> None:
        """Start a worker again whenever it ends. Returns when the gateway is to end."""
        backoff = Backoff()
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                await worker.start(self._listener)
            except OSError as error:
                _log.error("a worker does not start", worker=worker.number, reason=str(error))
                code, reason = 1, NOT_STARTED
            else:
                if self._stop.is_set():  # it began too late for the others' SIGTERM
                    self._signal(signal.SIGTERM)
                code, reason = await worker.live()
            if worker.latest is not None:
                counted = whole.Merged([self._ended, worker.latest.metrics])
                self._ended = counted.counts()
                worker.latest = None
            if self._stop.is_set():
                return
            if not self._served and reason != HUNG:
                # As one process does: a wrong setting or a taken port, which a restart cannot cure.
                _log.error("the first worker ended before it served", exit_code=code)
                self._exit_code = code if code > 0 else 1
                return
            pause = backoff.after(time.monotonic() - started)
            self._restarts.labels(reason).inc()
            _log.warning(
                "a worker is started again",
                worker=worker.number,
                reason=reason,
                exit_code=code,
                wait_seconds=pause,
            )
            try:
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            except TimeoutError:
                continue

    async def _answer(self, by: Worker, question: StateQuestion) -> None:
        await asyncio.gather(*(worker.refresh() for worker in self._workers))
        by.answer(question.ticket, self._content(question.about))

    def _content(self, about: About) -> bytes:
        states = [worker.state() for worker in self._workers]
        if about == "health":
            return msgspec.json.encode(whole.health(states))
        if about == "readiness":
            return msgspec.json.encode(whole.readiness(states))
        reports = [state.report.metrics for state in states if state.report is not None]
        own = families_of(self._registry.collect())
        return generate_latest(whole.Merged([own, *reports, self._ended]))

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.send_signal(number)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound as uvicorn does it, and does not listen.

    Raises:
        OSError: The port is taken.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
