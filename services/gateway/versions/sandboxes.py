"""The challengers' processes: one per version and mode, started when a route needs it and ended when none does any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Set
from typing import TypeAlias

from dojo.core.registry.bundle import CorruptBundleError
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.routes import Arm, Mode
from services.gateway.metrics import GatewayMetrics
from services.gateway.sandbox.sandbox import RESTARTS, Priority, Sandbox
from services.gateway.versions.serving import SandboxedModel
from services.gateway.versions.version_store import VersionStore, in_thread

# A process that no route needs any more lives on for the requests that chose it and are still looking up their features: they have
# a deadline, and shadows wait in a buffer for a moment. It is a few dozen MB; what matters is that it ends.
LAST_REQUESTS_SECONDS = 1.0
# Then for the rows in it, at most this long.
RETIRE_SECONDS = 1.0

# By mode, because a process cannot be given more of the processor later than it began with. A shadow must not be felt: at nice 10 it
# gets a tenth of a contested core, and nobody waits for it, so that it is slow for long before it counts as hanging. A live arm is
# judged by its latency beside the champion's: with less of the processor a good version would look slow on a busy machine. 2 s of
# silence are twenty deadlines.
PRIORITIES: Mapping[Mode, Priority] = {
    "shadow": Priority(niceness=10, hang_seconds=10.0, start_seconds=60.0),
    "live": Priority(niceness=0, hang_seconds=2.0, start_seconds=30.0),
}

Key: TypeAlias = tuple[str, Mode]  # version, mode


class Sandboxes:
    """The processes of one model. All state lives on the event loop."""

    def __init__(self, spec: ModelSpec, store: VersionStore, metrics: GatewayMetrics) -> None:
        self._spec = spec
        # Nobody who chose a version comes later than a deadline after its route.
        self._last_requests = max(LAST_REQUESTS_SECONDS, spec.serving.deadline.total_seconds())
        self._store = store
        self._metrics = metrics
        self._running: dict[Key, SandboxedModel] = {}
        self._starts: dict[Key, asyncio.Lock] = {}
        self._background: set[asyncio.Task[None]] = set()

    def at_hand(self, arm: Arm) -> SandboxedModel | None:
        return self._running.get((arm.version, arm.mode))

    async def obtain(self, arm: Arm) -> SandboxedModel:
        """The arm's version in a process that scores: the one there is, else a new one. Whoever is cancelled ends what it started.

        Raises:
            CorruptBundleError: it must not be served.
            RegistryUnavailableError, UnknownVersionError, SandboxUnavailableError: it cannot be had or started.
        """
        key = arm.version, arm.mode
        async with self._starts.setdefault(key, asyncio.Lock()):  # two starts of one version would leave a process nobody ends
            sandboxed = self._running.get(key)
            if sandboxed is None:
                sandboxed = self._running[key] = await self._start(arm)
            return sandboxed

    def keep(self, needed: Set[Key]) -> None:
        """End the others, once those who chose them have been answered."""
        for key in [key for key in self._running if key not in needed]:
            self._in_background(_retire(self._running.pop(key).sandbox, self._last_requests))

    async def close(self) -> None:
        """End all at once."""
        retiring = list(self._background)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*(sandboxed.sandbox.close() for sandboxed in self._running.values()))
        await asyncio.gather(*retiring, return_exceptions=True)

    async def _start(self, arm: Arm) -> SandboxedModel:
        model, version = self._spec.name, arm.version
        directory, cached, bundle = await in_thread("versions", lambda: self._store.described(model, version))

        for cause in RESTARTS:
            self._metrics.sandbox_restarts.labels(model, cause)

        def restarted(reason: str) -> None:
            self._metrics.sandbox_restarts.labels(model, reason).inc()

        sandbox = Sandbox(f"{model}/{version}", directory, cached.sha256, PRIORITIES[arm.mode], restarted)
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
    """End a process that new requests do not choose any more, once those that did are answered."""
    try:
        await asyncio.sleep(last_requests)  # idle now does not mean that nobody is on the way
        deadline = time.monotonic() + RETIRE_SECONDS
        while not sandbox.idle and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
    finally:
        await sandbox.close()
