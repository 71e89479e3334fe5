"""Tells a model's owner what was changed in the registry past the platform.

Each change is told once, and its end too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from redis import Redis

from dojo.core.spec.schema import ModelSpec
from dojo.core.state.inbox import RESOLVED, Notice, Notifier
from dojo.core.state.registry_faults import (
    FaultKind,
    RegistryFault,
    RegistryFaults,
    registry_faults,
)
from services.monitor.serving import ServingVersions

# Without these a gateway whose cache is lost cannot serve the version any more.
PAGED: frozenset[FaultKind] = frozenset({"model", "version", "bundle"})


class RegistryNotices:
    """For all models. Raises redis.RedisError when Redis is out of reach: repeat it."""

    def __init__(
        self,
        redis: Redis,
        notifier: Notifier,
        specs: Mapping[str, ModelSpec],
        serving: ServingVersions,
    ) -> None:
        self._redis, self._notifier, self._specs, self._serving = redis, notifier, specs, serving
        self._told: dict[str, tuple[RegistryFault, ...]] = {}

    def look(self, now: datetime) -> None:
        """Tell what has changed since the last notice. Nothing is known while MLflow is away."""
        for model, spec in self._specs.items():
            serving = self._serving.of(model)
            if serving is not None and model not in self._serving.away:
                self._tell(spec, serving.faults, now)

    def _tell(self, spec: ModelSpec, faults: tuple[RegistryFault, ...], now: datetime) -> None:
        if self._told.get(spec.name) == faults:
            return
        document = registry_faults(self._redis, spec.name)
        before = document.get()
        known = before.faults if before is not None else ()
        if faults != known:
            since = before.since if before is not None and known and faults else now
            after = RegistryFaults(
                faults=faults,
                since=since,
                occasion=before.occasion + 1 if before is not None else 1,
            )
            # Told before it is written. After a kill in between it is told again under the same
            # name, so the owner reads it once.
            self._notifier.tell(spec.owner, spec.name, notice_of(spec.name, after, known), now)
            document.put(after)
        self._told[spec.name] = faults


def notice_of(model: str, found: RegistryFaults, before: tuple[RegistryFault, ...]) -> Notice:
    """The notice for the owner. `before` holds the faults that were told last."""
    name = f"registry:{model}:{found.since:%Y%m%dT%H%M%S}:{found.occasion}"
    if not found.faults:
        return Notice(
            name,
            "info",
            f"{RESOLVED}{model}: the registry is as the platform left it",
            "\n".join(f"Mended: {fault.what}" for fault in before),
        )
    return Notice(
        name,
        "page" if any(fault.kind in PAGED for fault in found.faults) else "warning",
        f"{model}: the registry was changed past the platform",
        "\n".join(str(fault) for fault in found.faults),
    )
