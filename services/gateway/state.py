"""What a gateway says about itself: health, readiness and metrics.

One process says its own. Of several workers, each says what all of them are (services/gateway/
workers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest

READY, NOT_READY = "ready", "not ready"

Document = Mapping[str, object]


class NoStateError(RuntimeError):
    """The state of the whole gateway cannot be had now."""


class GatewayState(Protocol):
    """Answers for the whole gateway. Each call may raise NoStateError."""

    async def health(self) -> Document:
        """Return what /healthz says."""

    async def readiness(self) -> Document:
        """Return what /readyz says. Its `status` is READY or NOT_READY."""

    async def metrics(self) -> bytes:
        """Return the metrics in Prometheus' text format."""


class SharedState(GatewayState, Protocol):
    """The state of a gateway of several workers, as one of them knows it."""

    async def join(self, own: OwnState) -> None:
        """Begin to report this process' state to the parent."""

    def report(self) -> None:
        """Tell the parent the present state without being asked."""


class OwnState:
    """The state of this process.

    Args:
        details: What /healthz says besides the models.
        models: The serving versions of each model, and their problems.
        is_ready: Whether each model with a version serves it.

    Attributes:
        serving: Whether the process has begun to take requests.
    """

    def __init__(
        self,
        details: Callable[[], Document],
        models: Callable[[], Document],
        is_ready: Callable[[], bool],
        registry: CollectorRegistry,
    ) -> None:
        self._details, self._models, self._is_ready = details, models, is_ready
        self.registry = registry
        self.serving = False

    @property
    def is_ready(self) -> bool:
        return self._is_ready()

    def now(self) -> Document:
        """Return what /healthz says of this process."""
        return {"status": "ok", "models": self._models(), **self._details()}

    async def health(self) -> Document:
        return self.now()

    async def readiness(self) -> Document:
        return {"status": READY if self.is_ready else NOT_READY, "models": self._models()}

    async def metrics(self) -> bytes:
        return generate_latest(self.registry)
