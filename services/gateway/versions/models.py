"""Which versions serve each model.

A route's versions serve once all of them are here and verified. Without a route, the registry's
champion serves.

After a start, the last route's first arm answers alone, as generation 0, until the other arms are
here. A challenger may start slowly or never, and this must not keep the gateway closed.

A trusted version is scored in this process, unless it is slow. Its run would stop every model's
requests. So it gets a process of its own (services/gateway/sandbox/pace.py).

One assignment switches a route and its versions. Requests in flight keep their old route. If a
route cannot be served, the previous one stays, the reason is shown, and the gateway tries again.
All state lives on the event loop. Blocking work runs on its own threads (version_store). A return
to a cached version therefore never waits for a download.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from dojo.core.registry.bundle import CorruptBundleError
from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.versions import Version
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.routes import Arm, Route
from services.gateway.metrics import GatewayMetrics
from services.gateway.sandbox import pace
from services.gateway.sandbox.sandbox import SandboxUnavailableError
from services.gateway.versions.arms import (
    ServedRoute,
    champion_route,
    describe,
    is_idle,
    is_trusted,
    registrys_route,
    served_route,
)
from services.gateway.versions.sandboxes import Key, Sandboxes
from services.gateway.versions.serving import Rows, ScorableVersion, ServedModel
from services.gateway.versions.version_store import VersionStore, in_thread

# Interval between attempts with a version that failed verification. Its artifact may have been
# damaged on the way, or repaired since.
RETRY_REJECTED_SECONDS = 30.0
# For versions that could not be fetched (MLflow away) or started.
RETRY_SECONDS = 2.0
# Versions kept in memory in addition to the serving ones, so that a rollback is an assignment. A
# few MB each.
LOADED_VERSIONS = 4

_UNAVAILABLE = (RegistryUnavailableError, UnknownVersionError, SandboxUnavailableError, OSError)
_log = structlog.get_logger("gateway.models")


@dataclass(slots=True)
class ServingState:
    """One model's way from the wanted route to the serving one.

    Attributes:
        wanted: The route to serve. None for the registry's champion.
        problem: Why `wanted` does not serve yet.
        retry_at: Time of the next attempt (monotonic).
        slow: Trusted versions that were measured as slow, at their load or later.
        suspecting: Finds out whether a version was slow, or the machine.
        failed_champion: Version and source of a champion that failed verification.
    """

    wanted: Route | None = None
    preparing: asyncio.Task[None] | None = None
    problem: str | None = None
    retry_at: float = 0.0
    loaded: OrderedDict[str, ServedModel] = field(default_factory=OrderedDict)
    slow: set[str] = field(default_factory=set)
    suspecting: asyncio.Task[None] | None = None
    failed_champion: tuple[str, str] | None = None
    champion_retry_at: float = 0.0


class Models:
    """The serving routes by model name. The hot path only reads `serving`.

    Args:
        slow_seconds: From this time on a version is slow.
    """

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        store: VersionStore,
        metrics: GatewayMetrics,
        slow_seconds: float,
    ) -> None:
        self.serving: dict[str, ServedRoute] = {}
        self.without_version: set[str] = set()  # models without a champion in the registry
        self._store = store
        self._metrics = metrics
        self._states = {name: ServingState() for name in specs}
        self._slow_seconds = slow_seconds
        self._sandboxes = {
            name: Sandboxes(spec, store, metrics, slow_seconds) for name, spec in specs.items()
        }

    @property
    def ready(self) -> bool:
        """Whether each model with a version is served, and at least one model is.

        A model that was never trained does not delay the callers of other models.
        """
        return (
            bool(self.serving) and self._states.keys() <= self.serving.keys() | self.without_version
        )

    def want(self, model: str, route: Route | None) -> None:
        """Serve this route as soon as possible. Repeated calls for a route retry failures."""
        state = self._states[model]
        if route != state.wanted:
            if state.preparing is not None:
                state.preparing.cancel()
            state.wanted, state.preparing, state.problem, state.retry_at = route, None, None, 0.0
            # Also ends starts for a route that never served.
            self._sandboxes[model].keep(self._apart(model))
            if route is not None:
                self._store.caches[model].pinned = self._in_use(model)
        if (
            route is None
            or state.preparing is not None
            or time.monotonic() < state.retry_at
            or self._serves(model, route)
        ):
            return
        ready = [self._at_hand(route, arm) for arm in route.arms]
        versions = [version for version in ready if version is not None]
        if len(versions) == len(ready):
            self._switch(model, served_route(route, versions))
        else:
            state.preparing = asyncio.create_task(
                self._prepare(model, route), name=f"route {model}"
            )

    async def restore(self, model: str, route: Route | None) -> None:
        """Serve the last run's version from disk, before the first contact with Redis or MLflow.

        It must be a trusted version. The other arms follow in the background.
        """
        cache = self._store.caches[model]
        served: ScorableVersion | None = None
        if route is not None:
            self._states[model].wanted = route
            cache.pinned = self._in_use(model)
            first = route.arms[0].version
            try:
                served = await self._trusted(
                    model, lambda: self._store.trusted(model, first, offline=True)
                )
            except (CorruptBundleError, *_UNAVAILABLE) as error:
                _log.warning(
                    "the last route's first arm is not in the cache", model=model, reason=str(error)
                )
        if served is None:
            with contextlib.suppress(SandboxUnavailableError, OSError):
                served = await self._trusted(model, cache.newest)
        if served is not None:
            self._switch(model, champion_route(served, model, route))
        if route is not None:
            self.want(model, route)

    def needs_champion(self, model: str, champion: Version) -> bool:
        """Whether to load the registry's champion.

        True without a route, if the champion neither serves nor is known to be bad.
        """
        state, serving = self._states[model], self.serving.get(model)
        if state.wanted is not None:
            return False
        if serving is not None and _is(serving, champion):
            return False
        return (
            state.failed_champion != (champion.version, champion.source)
            or time.monotonic() >= state.champion_retry_at
        )

    async def serve_champion(self, model: str, champion: Version) -> None:
        """Load the registry's champion and serve it.

        Raises:
            RegistryUnavailableError: The registry does not answer.
            UnknownVersionError: The registry does not know the version.
            SandboxUnavailableError: It is slow, and its process does not start.
            OSError: Its files cannot be had.
        """
        state = self._states[model]
        try:
            served = await self._trusted(model, lambda: self._store.from_registry(champion))
        except CorruptBundleError:
            state.failed_champion = (champion.version, champion.source)
            state.champion_retry_at = time.monotonic() + RETRY_REJECTED_SECONDS
            return
        state.failed_champion = None
        if served is not None and state.wanted is None:
            self._switch(model, champion_route(served, model))

    async def check_against_registry(self, model: str) -> None:
        """Replace serving versions for which the registry holds another bundle now.

        Raises the same errors as `VersionStore.replaced`.
        """
        serving, state = self.serving.get(model), self._states[model]
        if (
            serving is None
            or state.wanted is None
            or state.preparing is not None
            or not self._serves(model, state.wanted)
        ):
            return
        versions = {arm.version: arm.served.sha256 for arm in serving.arms}
        replaced = await in_thread("registry", lambda: self._store.replaced(model, versions))
        if not replaced:
            return
        for version in replaced:
            state.loaded.pop(version, None)
        self._sandboxes[model].keep({key for key in self._apart(model) if key[0] not in replaced})
        if state.preparing is None and state.wanted is not None:
            state.preparing = asyncio.create_task(
                self._prepare(model, state.wanted), name=f"route {model}"
            )

    def details(self, model: str) -> dict[str, object]:
        """Return the serving version and route, and problems of the next ones, for /healthz."""
        serving, state = self.serving.get(model), self._states[model]
        return {
            "version": serving.primary.version if serving else None,
            "rejected_version": state.failed_champion[0] if state.failed_champion else None,
            "route": describe(serving) if serving else None,
            "wanted_generation": state.wanted.generation if state.wanted else None,
            "route_problem": state.problem,
        }

    async def close(self) -> None:
        """End the sandboxes."""
        preparing = [
            task
            for state in self._states.values()
            for task in (state.preparing, state.suspecting)
            if task is not None
        ]
        for task in preparing:
            task.cancel()
        await asyncio.gather(*preparing, return_exceptions=True)
        await asyncio.gather(*(sandboxes.close() for sandboxes in self._sandboxes.values()))

    async def _prepare(self, model: str, route: Route) -> None:
        state = self._states[model]
        try:
            async with asyncio.TaskGroup() as arms:  # one failure ends the other starts
                versions = [arms.create_task(self._obtain(model, route, arm)) for arm in route.arms]
        except* (CorruptBundleError, *_UNAVAILABLE) as errors:
            self._metrics.route_failures.labels(model).inc()
            rejected = errors.subgroup(CorruptBundleError) is not None
            wait = RETRY_REJECTED_SECONDS if rejected else RETRY_SECONDS
            reason = "; ".join(str(error) for error in errors.exceptions)
            state.problem, state.retry_at = reason[:300], time.monotonic() + wait
            _log.error(
                "a route cannot be served yet",
                model=model,
                generation=route.generation,
                reason=state.problem,
            )
        else:
            self._switch(model, served_route(route, [version.result() for version in versions]))
        finally:
            if state.preparing is asyncio.current_task():
                state.preparing = None

    async def _obtain(self, model: str, route: Route, arm: Arm) -> ScorableVersion | None:
        """Return an arm's version. None for a standby that cannot be had.

        Traffic was often taken away from a standby. Its fault must not hold that up.
        """
        try:
            return await self._find(model, route, arm)
        except (CorruptBundleError, *_UNAVAILABLE) as error:
            if not is_idle(route, arm):
                raise
            _log.warning(
                "a route is served without its standby",
                model=model,
                version=arm.version,
                reason=str(error),
            )
            return None

    async def _find(self, model: str, route: Route, arm: Arm) -> ScorableVersion:
        at_hand = self._at_hand(route, arm)
        if at_hand is not None:
            return at_hand
        if is_trusted(route, arm):
            served = await self._trusted(model, lambda: self._store.trusted(model, arm.version))
            assert served is not None
            return served
        return await self._sandboxes[model].obtain((arm.version, arm.mode))

    async def _trusted(
        self, model: str, load: Callable[[], ServedModel | None]
    ) -> ScorableVersion | None:
        """Load a trusted version for scoring here, or in a process of its own if it is slow."""

        def load_and_measure() -> tuple[ServedModel, pace.VersionPace] | None:
            served = load()
            return None if served is None else (served, served.pace(self._slow_seconds))

        found = await in_thread("versions", load_and_measure)
        if found is None:
            return None
        served, measured = found
        slow, version = self._states[model].slow, served.version
        if not measured.is_slow:
            slow.discard(version)
            served.watch(self._slow_seconds, partial(self._suspect, model, served))
            self._use(model, served)
            return served
        del found, served  # a large model, and its process loads it again
        return await self._put_apart(model, version)

    async def _put_apart(self, model: str, version: str) -> ScorableVersion:
        _log.info("a slow version gets a process of its own", model=model, version=version)
        self._states[model].slow.add(version)
        return await self._sandboxes[model].obtain((version, "live"))

    def _suspect(self, model: str, served: ServedModel, rows: Rows) -> None:
        """Look into a run that took long: was it the version with these rows, or the machine?"""
        state = self._states[model]
        if state.suspecting is None:
            state.suspecting = asyncio.create_task(self._look_into(model, served, rows))

    async def _look_into(self, model: str, served: ServedModel, rows: Rows) -> None:
        state, version = self._states[model], served.version
        try:
            limit = self._slow_seconds
            if await in_thread("versions", lambda: served.is_slow_with(rows, limit)):
                state.loaded.pop(version, None)
                await self._put_apart(model, version)
                route = self.serving[model].route
                ready = [self._at_hand(route, arm) for arm in route.arms]
                versions = [one for one in ready if one is not None]
                if len(versions) == len(ready):
                    self._switch(model, served_route(route, versions))
        except _UNAVAILABLE as error:  # it goes on in this process, and the next slow run tries it
            state.slow.discard(version)
            state.loaded[version] = served
            _log.error("no process for a slow version", model=model, reason=str(error))
        finally:
            state.suspecting = None

    def _at_hand(self, route: Route, arm: Arm) -> ScorableVersion | None:
        state, sandboxes = self._states[route.model], self._sandboxes[route.model]
        if is_trusted(route, arm) and arm.version not in state.slow:
            return state.loaded.get(arm.version)
        return sandboxes.at_hand((arm.version, arm.mode))

    def _serves(self, model: str, route: Route) -> bool:
        return model in self.serving and self.serving[model].route == route

    def _routes(self, model: str) -> list[Route]:
        """Return the serving and the wanted route. Their versions must be kept."""
        wanted, serving = self._states[model].wanted, self.serving.get(model)
        return [
            route for route in (wanted, serving.route if serving else None) if route is not None
        ]

    def _in_use(self, model: str) -> frozenset[str]:
        return frozenset(arm.version for route in self._routes(model) for arm in route.arms)

    def _apart(self, model: str) -> set[Key]:
        """Return the versions that need a process of their own."""
        slow = self._states[model].slow
        return {
            (arm.version, arm.mode)
            for route in self._routes(model)
            for arm in route.arms
            if not is_trusted(route, arm) or arm.version in slow
        }

    def _use(self, model: str, served: ServedModel) -> None:
        """Keep a loaded version in memory."""
        loaded = self._states[model].loaded
        loaded[served.version] = served
        loaded.move_to_end(served.version)
        in_use = self._in_use(model)
        for version in [version for version in loaded if version not in in_use][:-LOADED_VERSIONS]:
            del loaded[version]

    def _switch(self, model: str, route: ServedRoute) -> None:
        before, state = self.serving.get(model), self._states[model]
        # One assignment, so a request in flight keeps its route.
        self.serving[model] = route
        state.problem = None
        self._store.caches[model].pinned = self._in_use(model)
        self._sandboxes[model].keep(self._apart(model))
        self._metrics.route_switched(before.route if before else None, route.route)
        _log.info(
            "serving",
            model=model,
            version=route.primary.version,
            generation=route.route.generation,
            strategy=route.route.strategy,
            before=before.primary.version if before else None,
        )


def _is(serving: ServedRoute, champion: Version) -> bool:
    """Whether this very version of the registry's champion serves.

    The number is not enough, because a rebuilt registry numbers its versions from 1 again.
    """
    same = serving.primary.served.sha256 == champion.tags.bundle_sha256
    return same and serving.route == registrys_route(champion.model, champion.version)
