"""Following the registry.

Its champion serves the models without a route. It also confirms that cached versions are unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from services.gateway.metrics import GatewayMetrics
from services.gateway.sandbox.sandbox import SandboxUnavailableError
from services.gateway.versions.models import Models
from services.gateway.versions.version_store import VersionStore, in_thread

NOT_ASKED = "not asked yet"
OK = "ok"
NO_VERSION = "no version is champion yet"

_log = structlog.get_logger("gateway.registry")


class RegistryFeed:
    """`run` polls the registry. If MLflow hangs, only the next poll waits."""

    def __init__(
        self,
        models: Models,
        store: VersionStore,
        names: Sequence[str],
        poll_seconds: float,
        metrics: GatewayMetrics,
    ) -> None:
        self._models = models
        self._store = store
        self._poll_seconds = poll_seconds
        self._metrics = metrics
        self.states = dict.fromkeys(names, NOT_ASKED)
        self._checked: dict[str, int] = {}  # model -> generation with confirmed versions

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            for name in self.states:
                await self._poll(name)
            await asyncio.sleep(self._poll_seconds)

    async def _poll(self, name: str) -> None:
        try:
            champion = await in_thread("registry", lambda: self._store.champion(name))
            self._note(name, champion is not None)
            if champion is not None and self._models.needs_champion(name, champion):
                await self._models.serve_champion(name, champion)
            await self._check(name)
        except (
            RegistryUnavailableError,
            UnknownVersionError,
            SandboxUnavailableError,
            OSError,
        ) as error:
            self._metrics.registry_errors.labels(name).inc()
            if self.states[name] in (NOT_ASKED, OK, NO_VERSION):
                _log.warning(
                    "registry is away, the last known version stays", model=name, reason=str(error)
                )
            self.states[name] = str(error)[:200]
            return
        if self.states[name] not in (NOT_ASKED, OK, NO_VERSION):
            _log.info("registry is back", model=name)
        self.states[name] = NO_VERSION if name in self._models.without_version else OK

    def _note(self, name: str, has_version: bool) -> None:
        without = self._models.without_version
        if has_version:
            without.discard(name)
        elif name not in without:
            without.add(name)
            serves = name in self._models.serving
            said = (
                "no version is champion any more: what serves goes on"
                if serves
                else "no version yet: the spec's fallback answers"
            )
            _log.warning(said, model=name)

    async def _check(self, name: str) -> None:
        """Check the versions of a route once. The registry may have replaced a cached version."""
        serving = self._models.serving.get(name)
        generation = serving.route.generation if serving else 0
        if generation and self._checked.get(name) != generation:
            await self._models.check_against_registry(name)
            self._checked[name] = generation
