"""The source of versions: the local cache, then the registry.

All calls here block. `in_thread` keeps them off the event loop.
"""

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
        registry: Asked once, within seconds. The next round is the retry.
        rejected: Called for each version that fails verification, with model, version and error.
    """

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        directory: Path,
        registry: ModelRegistry,
        rejected: Callable[[str, str, CorruptBundleError], None],
    ) -> None:
        self.caches = {
            name: ModelCache(directory, spec, _of(name, rejected)) for name, spec in specs.items()
        }
        self._registry, self._rejected = registry, rejected

    def champion(self, model: str) -> Version | None:
        """Return the registry's champion.

        Raises:
            RegistryUnavailableError: The registry does not answer.
        """
        return self._registry.by_alias(model, CHAMPION)

    def trusted(self, model: str, version: str, offline: bool = False) -> ServedModel:
        """Return a version for scoring in this process, verified (hashes and parity) and warm.

        Args:
            offline: Read the cache only.

        Raises:
            CorruptBundleError: The version must not be served.
            RegistryUnavailableError: The version is not here, and the registry does not answer.
            UnknownVersionError: The version is not here, and the registry does not know it.
        """
        cache = self.caches[model]
        try:
            served = cache.load(version)
        except CorruptBundleError:
            served = None  # damaged on disk: fetch it again
        if served is None:
            if offline:
                raise UnknownVersionError(
                    f"{model}: version {version} is not in this gateway's cache"
                )
            self._fetch(model, version)
            served = cache.load(version)
            if served is None:
                raise UnknownVersionError(
                    f"{model}: version {version} left the cache while it was loaded"
                )
        freeze_heap()  # a new version brings its own objects
        return served

    def from_registry(self, version: Version) -> ServedModel:
        """Return exactly the version that the registry described, for serving in this process.

        Raises the same errors as `trusted`.
        """
        cache = self.caches[version.model]
        cache.fetch(version, self._registry)
        served = cache.load(version.version)
        if served is None:
            raise UnknownVersionError(
                f"{version.model}: version {version.version} left the cache while it was loaded"
            )
        freeze_heap()
        return served

    def described(self, model: str, version: str) -> tuple[Path, CachedVersion, Bundle]:
        """Return directory and description of a version with matching hashes.

        The model is not loaded. Raises the same errors as `trusted`.
        """
        cache = self.caches[model]
        found = cache.describe(version)
        if found is None:
            self._fetch(model, version)
            found = cache.describe(version)
            if found is None:
                raise UnknownVersionError(
                    f"{model}: version {version} left the cache while it was read"
                )
        return cache.directory(version), *found

    def replaced(self, model: str, versions: Mapping[str, str]) -> list[str]:
        """Drop the versions that the registry knows with another bundle, and return them.

        A rebuilt registry numbers its versions from 1 again. A record that was changed by hand
        drops nothing. The serving version was verified before, and is reported as doubtful.

        Args:
            versions: Number -> bundle's SHA-256.

        Raises:
            RegistryUnavailableError: The registry does not answer.
            UnknownVersionError: The registry does not know a version.
        """
        found = []
        for version, sha256 in versions.items():
            try:
                expected = self._registry.sealed_sha256(self._registry.get(model, version))
            except CorruptBundleError as doubtful:
                self._rejected(model, version, doubtful)
                continue
            if expected != sha256:
                error = CorruptBundleError(
                    f"the registry's version {version} has another bundle now"
                )
                self.caches[model].drop(CachedVersion(version, sha256), error)
                found.append(version)
        return found

    def _fetch(self, model: str, version: str) -> None:
        self.caches[model].fetch(self._registry.get(model, version), self._registry)


def in_thread(name: str, work: Callable[[], _T]) -> asyncio.Future[_T]:
    """Run blocking work on a daemon thread of its own.

    If MLflow hangs, other work continues and the process can still exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # the waiting caller gets it
            _tell(loop, future, None, error)
        else:
            _tell(loop, future, result, None)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _tell(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[_T],
    result: _T | None,
    error: Exception | None,
) -> None:
    def tell() -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    with contextlib.suppress(RuntimeError):  # the loop has ended, so the caller is gone too
        loop.call_soon_threadsafe(tell)


def _of(
    name: str, rejected: Callable[[str, str, CorruptBundleError], None]
) -> Callable[[str, CorruptBundleError], None]:
    return lambda version, error: rejected(name, version, error)
