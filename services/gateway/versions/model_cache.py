"""Verified versions on this machine's disk, so that a restart serves at once, with MLflow down too.

    <directory>/<model>/current.json   versions whose files passed verification here, with their bundle's SHA-256; first those that
                                       were served with trust, newest first, then those that never were (challengers)
    <directory>/<model>/<version>/     the bundle

Nothing is served from disk unverified: disks rot and people edit. What fails is dropped from the cache.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from dojo.core.registry.bundle import Bundle, CorruptBundleError, load_bundle, verify_bundle
from dojo.core.registry.versions import ModelRegistry, Version
from dojo.core.spec.schema import ModelSpec
from services.gateway.versions.serving import ServedModel

# Beside those of the current route: the champion, the one before it for a rollback, and one more in case that one is bad too.
# About 1 MB each.
KEPT_VERSIONS = 3


class CachedVersion(msgspec.Struct, frozen=True):
    version: str
    sha256: str


class _Index(msgspec.Struct):
    versions: list[CachedVersion] = []


class ModelCache:
    """One model's versions on disk. Blocking: call from a thread; several may call at once.

    Args:
        rejected: told of each version that fails verification, and why.
    """

    def __init__(self, directory: Path, spec: ModelSpec, rejected: Callable[[str, CorruptBundleError], None]) -> None:
        self._directory = directory / spec.name
        self._spec = spec
        self._rejected = rejected
        self._lock = threading.RLock()  # of the index and the directories it names
        self.pinned: frozenset[str] = frozenset()  # versions of the routes in use: kept however old

    def newest(self) -> ServedModel | None:
        """The newest cached version that passes verification; never one that was not trusted yet, unless nothing else is there."""
        for leftover in self._directory.glob(".incoming-*"):  # of a download that a kill interrupted
            shutil.rmtree(leftover, ignore_errors=True)
        for cached in self._index().versions:
            try:
                return self.load(cached.version)
            except CorruptBundleError:
                continue  # told, and dropped
        return None

    def load(self, version: str) -> ServedModel | None:
        """A cached version to be served in this process; None when it is not here.

        Raises:
            CorruptBundleError: it was here and must not be served; it is dropped.
        """
        cached = self.find(version)
        if cached is None:
            return None
        try:
            bundle, scorer = load_bundle(self.directory(version), cached.sha256)
            served = ServedModel(self._spec, version, cached.sha256, bundle, scorer)
        except CorruptBundleError as error:
            self.drop(cached, error)
            raise
        served.warm()
        self._remember(cached, trusted=True)
        return served

    def describe(self, version: str) -> tuple[CachedVersion, Bundle] | None:
        """A cached version whose files are whole, its model not loaded; None when it is not here (or damaged, and dropped)."""
        cached = self.find(version)
        if cached is None:
            return None
        try:
            return cached, verify_bundle(self.directory(version), cached.sha256)[0]
        except CorruptBundleError as error:
            self.drop(cached, error)
            return None

    def directory(self, version: str) -> Path:
        return self._directory / version

    def find(self, version: str) -> CachedVersion | None:
        with self._lock:
            return next((cached for cached in self._index().versions if cached.version == version), None)

    def fetch(self, version: Version, registry: ModelRegistry) -> None:
        """Have the version's files here, whole: from disk or else from the registry.

        Raises:
            CorruptBundleError: it must not be served.
            RegistryUnavailableError, UnknownVersionError: it cannot be had.
        """
        try:
            cached = CachedVersion(version.version, registry.sealed_sha256(version))
            if self.find(version.version) == cached and self.describe(version.version) is not None:
                return
            self._download(cached, version, registry)
        except CorruptBundleError as error:
            self._rejected(version.version, error)
            raise

    def _download(self, cached: CachedVersion, version: Version, registry: ModelRegistry) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=self._directory) as incoming:
            bundle = registry.download(version, Path(incoming))
            verify_bundle(bundle, cached.sha256)
            with self._lock:
                final = self.directory(version.version)
                shutil.rmtree(final, ignore_errors=True)
                bundle.replace(final)
                self._remember(cached, trusted=False)

    def drop(self, cached: CachedVersion, error: CorruptBundleError) -> None:
        """Forget a version that must not be served."""
        self._rejected(cached.version, error)
        with self._lock:
            self._write([other for other in self._index().versions if other != cached])
            shutil.rmtree(self.directory(cached.version), ignore_errors=True)

    def _remember(self, cached: CachedVersion, trusted: bool) -> None:
        with self._lock:
            versions = self._index().versions
            if not trusted and cached in versions:
                return
            others = [other for other in versions if other.version != cached.version]
            ordered = [cached, *others] if trusted else [*others, cached]
            recent = [other for other in ordered if other.version not in self.pinned][:KEPT_VERSIONS]
            kept = [other for other in ordered if other in recent or other.version in self.pinned or other == cached]
            self._write(kept)
            names = {other.version for other in kept}
            for directory in self._directory.iterdir():
                if directory.is_dir() and directory.name not in names and not directory.name.startswith("."):
                    shutil.rmtree(directory, ignore_errors=True)

    def _index(self) -> _Index:
        try:
            return msgspec.json.decode((self._directory / "current.json").read_bytes(), type=_Index)
        except (OSError, msgspec.MsgspecError):
            return _Index()

    def _write(self, versions: list[CachedVersion]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        incoming = self._directory / "current.json.incoming"
        incoming.write_bytes(msgspec.json.format(msgspec.json.encode(_Index(versions))))
        incoming.replace(self._directory / "current.json")
