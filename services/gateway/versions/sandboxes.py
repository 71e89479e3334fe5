"""The processes of challengers and slow versions, one per version and mode.

Each lives while a route needs it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Set
from typing import TypeAlias

from dojo.core.registry.bundle import CorruptBundleError
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.routes import Mode
from services.gateway.children import RESTARTS
from services.gateway.metrics import GatewayMetrics
from services.gateway.sandbox.sandbox import Priority, Sandbox
from services.gateway.versions.serving import SandboxedModel
from services.gateway.versions.version_store import VersionStore, in_thread

# A process outlives its last route for requests that chose it and still look up features. They have
# a deadline, and shadows wait in a buffer for a moment. The process takes a few dozen MB, so ending
# it for certain matters more than ending it soon.
LAST_REQUESTS_SECONDS = 1.0
# Afterwards the process waits for its rows, at most this long.
RETIRE_SECONDS = 1.0

# By mode, because a process cannot get more of the processor later than at its start.
# A shadow must not slow serving down. At nice 10 it gets a tenth of a contested core. Callers do
# not wait for it, so it may be slow for long before it counts as hanging.
# A live arm is judged by its latency beside the champion's. With less of the processor, a good
# version would look slow on a busy machine. 2 s of silence are twenty deadlines.
PRIORITIES: Mapping[Mode, Priority] = {
    "shadow": Priority(niceness=10, hang_seconds=10.0, start_seconds=60.0),
    "live": Priority(niceness=0, hang_seconds=2.0, start_seconds=30.0),
}

Key: TypeAlias = tuple[str, Mode]  # version, mode


class Sandboxes:
    """The processes of one model. All state lives on the event loop."""

    def __init__(
        self, spec: ModelSpec, store: VersionStore, metrics: GatewayMetrics, slow_seconds: float
    ) -> None:
        self._spec = spec
        self._slow_seconds = slow_seconds
        # The last request for a version comes at most one deadline after its route ends.
        self._last_requests = max(LAST_REQUESTS_SECONDS, spec.serving.deadline.total_seconds())
        self._store = store
        self._metrics = metrics
        self._running: dict[Key, SandboxedModel] = {}
        self._starts: dict[Key, asyncio.Lock] = {}
        self._background: set[asyncio.Task[None]] = set()

    def at_hand(self, key: Key) -> SandboxedModel | None:
        return self._running.get(key)

    async def obtain(self, key: Key) -> SandboxedModel:
        """Return a version in a process that scores, started if necessary.

        A cancelled caller ends its own start.

        Raises:
            CorruptBundleError: The version must not be served.
            RegistryUnavailableError: The registry does not answer.
            UnknownVersionError: The registry does not know the version.
            SandboxUnavailableError: The process does not start.
        """
        # Two starts of one version would leave a process behind.
        async with self._starts.setdefault(key, asyncio.Lock()):
            sandboxed = self._running.get(key)
            if sandboxed is None:
                sandboxed = self._running[key] = await self._start(key)
            return sandboxed

    def keep(self, needed: Set[Key]) -> None:
        """End the other processes, once the requests that chose them are answered."""
        for key in [key for key in self._running if key not in needed]:
            self._in_background(_retire(self._running.pop(key).sandbox, self._last_requests))

    async def close(self) -> None:
        """End all processes at once."""
        retiring = list(self._background)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*(sandboxed.sandbox.close() for sandboxed in self._running.values()))
        await asyncio.gather(*retiring, return_exceptions=True)

    async def _start(self, key: Key) -> SandboxedModel:
        model, (version, mode) = self._spec.name, key
        directory, cached, bundle = await in_thread(
            "versions", lambda: self._store.described(model, version)
        )

        for cause in RESTARTS:
            self._metrics.sandbox_restarts.labels(model, cause)

        def restarted(reason: str) -> None:
            self._metrics.sandbox_restarts.labels(model, reason).inc()

        sandbox = Sandbox(
            f"{model}/{version}",
            directory,
            cached.sha256,
            PRIORITIES[mode],
            self._slow_seconds,
            1 if (batching := self._spec.serving.batching) is None else batching.rows,
            restarted,
        )
        try:
            sandboxed = SandboxedModel(self._spec, version, cached.sha256, bundle, sandbox)
            await sandbox.start()
        except CorruptBundleError as error:
            self._store.caches[model].drop(cached, error)
            raise
        return sandboxed

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _retire(sandbox: Sandbox, last_requests: float) -> None:
    """End a process without new requests, once the last requests are answered."""
    try:
        await asyncio.sleep(last_requests)  # an idle process may still get requests on their way
        deadline = time.monotonic() + RETIRE_SECONDS
        while not sandbox.idle and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
    finally:
        await sandbox.close()
