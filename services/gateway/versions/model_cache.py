"""Verified versions on this machine's disk, so that a restart serves at once, even without MLflow.

    <directory>/<model>/current.json   the versions that passed verification here, with their
                                       bundle's SHA-256; first the versions once served with trust,
                                       newest first, then the others (challengers)
    <directory>/<model>/<version>/     the bundle

The gateway verifies each version from disk before serving it, because disks rot and people edit. A
version that fails is dropped from the cache.
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

# Versions kept in addition to the current route's, about 1 MB each. They are the champion, its
# predecessor for a rollback, and one more in case the predecessor is bad too.
KEPT_VERSIONS = 3


class CachedVersion(msgspec.Struct, frozen=True):
    version: str
    sha256: str


class _Index(msgspec.Struct):
    versions: list[CachedVersion] = []


class ModelCache:
    """One model's versions on disk. Its calls block, and several threads may call at once.

    Args:
        rejected: Called for each version that fails verification, with the reason.
    """

    def __init__(
        self, directory: Path, spec: ModelSpec, rejected: Callable[[str, CorruptBundleError], None]
    ) -> None:
        self._directory = directory / spec.name
        self._spec = spec
        self._rejected = rejected
        self._lock = threading.RLock()  # guards the index and its directories
        self.pinned: frozenset[str] = frozenset()  # versions of routes in use: kept at any age

    def newest(self) -> ServedModel | None:
        """Return the newest cached version that passes verification.

        An untrusted version is returned only if the cache holds no other.
        """
        for leftover in self._directory.glob(".incoming-*"):  # from a download ended by a kill
            shutil.rmtree(leftover, ignore_errors=True)
        for cached in self._index().versions:
            try:
                return self.load(cached.version)
            except CorruptBundleError:
                continue  # reported and dropped
        return None

    def load(self, version: str) -> ServedModel | None:
        """Return a cached version for serving in this process, or None if it is not here.

        Raises:
            CorruptBundleError: The cached version must not be served. It is dropped.
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
        """Return a cached version with whole files, without loading its model.

        Returns None if it is not here. A damaged version is dropped.
        """
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
            return next(
                (cached for cached in self._index().versions if cached.version == version), None
            )

    def fetch(self, version: Version, registry: ModelRegistry) -> None:
        """Ensure that the version's whole files are on disk. The registry supplies missing ones.

        Raises:
            CorruptBundleError: The version must not be served.
            RegistryUnavailableError: The registry does not answer.
            UnknownVersionError: The registry does not know the version.
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
            recent = [other for other in ordered if other.version not in self.pinned][
                :KEPT_VERSIONS
            ]
            kept = [
                other
                for other in ordered
                if other in recent or other.version in self.pinned or other == cached
            ]
            self._write(kept)
            names = {other.version for other in kept}
            for directory in self._directory.iterdir():
                if (
                    directory.is_dir()
                    and directory.name not in names
                    and not directory.name.startswith(".")
                ):
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
