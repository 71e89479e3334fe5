"""Following the routes in Redis.

The gateway reads them every quarter of a second and remembers them for a start without Redis.

    <directory>/<model>.json    the last route that really served here

Without a route in Redis, the registry's champion serves. Without an answer from Redis, nothing
changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from dojo.core.state.routes import InvalidRouteError, Route, decode_route, route_key
from services.gateway.features.redis_client import RedisClient, RedisUnavailableError, command
from services.gateway.metrics import GatewayMetrics
from services.gateway.versions.models import Models

# A route without new versions serves within this time of the change. The promise is a second.
READ_EVERY_SECONDS = 0.25
TIMEOUT_SECONDS = 0.5

_log = structlog.get_logger("gateway.routes")


class RouteFollower:
    """Tells `Models` the route that each model should have."""

    def __init__(
        self,
        client: RedisClient,
        models: Models,
        names: Sequence[str],
        directory: Path,
        metrics: GatewayMetrics,
    ) -> None:
        self._client = client
        self._models = models
        self._names = list(names)
        self._directory = directory
        self._metrics = metrics
        self._wanted: dict[str, Route | None] = {}  # only models known from Redis or the disk
        self._seen: dict[str, bytes | None] = {}
        self._remembered: dict[str, Route | None] = {}
        self.refused: dict[str, str] = {}  # model -> the fault of the route in Redis
        self._get_all = b"".join(command(b"GET", route_key(name).encode()) for name in self._names)

    async def restore(self) -> None:
        """Serve the last run's routes, as far as their versions are cached."""
        for name in self._names:
            route = _read(self._path(name))
            self._remembered[name] = route
            if route is not None:
                self._wanted[name] = route
        await asyncio.gather(
            *(self._models.restore(name, self._wanted.get(name)) for name in self._names)
        )

    async def refresh(self) -> None:
        """Read the routes once, pass them on and remember the serving ones."""
        try:
            replies = await self._client.call(self._get_all, len(self._names), TIMEOUT_SECONDS)
        except RedisUnavailableError:
            replies = []  # the known routes stay
        for name, reply in zip(self._names, replies, strict=False):
            if reply is None or isinstance(reply, bytes):
                self._look(name, reply)
        for name, wanted in self._wanted.items():
            self._models.want(name, wanted)
            await self._remember(name)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(READ_EVERY_SECONDS)

    def _look(self, name: str, content: bytes | None) -> None:
        if name in self._seen and self._seen[name] == content:
            return
        self._seen[name] = content
        try:
            route = None if content is None else _checked(name, decode_route(content))
        except (msgspec.MsgspecError, UnicodeDecodeError, InvalidRouteError) as error:
            self._metrics.routes_refused.labels(name).inc()
            self.refused[name] = str(error)[:300]
            _log.error("a route is refused, the one before it stays", model=name, reason=str(error))
            return
        self.refused.pop(name, None)
        self._wanted[name] = route

    async def _remember(self, name: str) -> None:
        serving = self._models.serving.get(name)
        route = serving.route if serving is not None and serving.route.generation else None
        if serving is None or route == self._remembered.get(name):
            return
        if route is None and self._wanted.get(name) is not None:
            return  # after a start, an incomplete route must not replace the remembered one
        self._remembered[name] = route
        try:
            await asyncio.to_thread(_write, self._path(name), route)
        except OSError as error:
            _log.error(
                "the route cannot be remembered: a restart without Redis would serve another",
                reason=str(error),
            )

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def details(self) -> Mapping[str, str]:
        return self.refused


def _checked(name: str, route: Route) -> Route:
    """Return the route after the checks that need its key.

    Raises:
        InvalidRouteError: The route belongs to another model, or its generation is impossible.
    """
    if route.model != name:
        raise InvalidRouteError(f"{route_key(name)} holds a route of {route.model!r}")
    if route.generation < 1:
        raise InvalidRouteError(
            f"{name}: a route's generation counts from 1, got {route.generation}"
        )
    return route


def _read(path: Path) -> Route | None:
    try:
        return decode_route(path.read_bytes())
    except (OSError, msgspec.MsgspecError, InvalidRouteError):
        return None


def _write(path: Path, route: Route | None) -> None:
    if route is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_suffix(".incoming")
    incoming.write_bytes(msgspec.json.encode(route))
    incoming.replace(path)
