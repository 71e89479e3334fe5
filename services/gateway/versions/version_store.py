"""Where versions come from: the local cache, else the registry. Everything here blocks; `in_thread` keeps it off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from dojo.core.registry.bundle import Bundle, CorruptBundleError
from dojo.core.registry.errors import UnknownVersionError
from dojo.core.registry.versions import CHAMPION, ModelRegistry, Version
from dojo.core.spec.schema import ModelSpec
from services.gateway.heap import freeze_heap
from services.gateway.versions.model_cache import CachedVersion, ModelCache
from services.gateway.versions.serving import ServedModel

_T = TypeVar("_T")


class VersionStore:
    """The versions of all models.

    Args:
        registry: asked once, within seconds: the next round is the retry.
        rejected: told of each version that fails verification: model, version, why.
    """

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        directory: Path,
        registry: ModelRegistry,
        rejected: Callable[[str, str, CorruptBundleError], None],
    ) -> None:
        self.caches = {name: ModelCache(directory, spec, _of(name, rejected)) for name, spec in specs.items()}
        self._registry, self._rejected = registry, rejected

    def champion(self, model: str) -> Version | None:
        """The registry's champion. Raises RegistryUnavailableError."""
        return self._registry.by_alias(model, CHAMPION)

    def trusted(self, model: str, version: str, offline: bool = False) -> ServedModel:
        """A version to be scored in this process, verified (hashes and parity) and warm.

        Args:
            offline: from the cache only.

        Raises:
            CorruptBundleError: it must not be served.
            RegistryUnavailableError, UnknownVersionError: it is not here and cannot be had.
        """
        cache = self.caches[model]
        try:
            served = cache.load(version)
        except CorruptBundleError:
            served = None  # damaged on disk: have it again
        if served is None:
            if offline:
                raise UnknownVersionError(f"{model}: version {version} is not in this gateway's cache")
            self._fetch(model, version)
            served = cache.load(version)
            if served is None:
                raise UnknownVersionError(f"{model}: version {version} left the cache while it was loaded")
        freeze_heap()  # a new version brings its own objects
        return served

    def from_registry(self, version: Version) -> ServedModel:
        """The very version that the registry described just now, for serving in this process. Raises as `trusted`."""
        cache = self.caches[version.model]
        cache.fetch(version, self._registry)
        served = cache.load(version.version)
        if served is None:
            raise UnknownVersionError(f"{version.model}: version {version.version} left the cache while it was loaded")
        freeze_heap()
        return served

    def described(self, model: str, version: str) -> tuple[Path, CachedVersion, Bundle]:
        """Directory and description of a version whose hashes agree; nothing of its model is loaded here. Raises as `trusted`."""
        cache = self.caches[model]
        found = cache.describe(version)
        if found is None:
            self._fetch(model, version)
            found = cache.describe(version)
            if found is None:
                raise UnknownVersionError(f"{model}: version {version} left the cache while it was read")
        return cache.directory(version), *found

    def replaced(self, model: str, versions: Mapping[str, str]) -> list[str]:
        """Which versions (number -> bundle's SHA-256) the registry knows as something else: a registry that was rebuilt numbers its
        versions from 1 again. They are dropped from the cache. Raises RegistryUnavailableError, UnknownVersionError.

        A record that was tampered with drops nothing: what serves was verified before, and is told to be doubtful.
        """
        found = []
        for version, sha256 in versions.items():
            try:
                expected = self._registry.sealed_sha256(self._registry.get(model, version))
            except CorruptBundleError as doubtful:
                self._rejected(model, version, doubtful)
                continue
            if expected != sha256:
                error = CorruptBundleError(f"the registry's version {version} has another bundle now")
                self.caches[model].drop(CachedVersion(version, sha256), error)
                found.append(version)
        return found

    def _fetch(self, model: str, version: str) -> None:
        self.caches[model].fetch(self._registry.get(model, version), self._registry)


def in_thread(name: str, work: Callable[[], _T]) -> asyncio.Future[_T]:
    """Run blocking work on a daemon thread of its own: a hanging MLflow holds up nobody else's work, nor this process' end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # handed to whoever waits
            _tell(loop, future, None, error)
        else:
            _tell(loop, future, result, None)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _tell(loop: asyncio.AbstractEventLoop, future: asyncio.Future[_T], result: _T | None, error: Exception | None) -> None:
    def tell() -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits any more
        loop.call_soon_threadsafe(tell)


def _of(name: str, rejected: Callable[[str, str, CorruptBundleError], None]) -> Callable[[str, CorruptBundleError], None]:
    return lambda version, error: rejected(name, version, error)
