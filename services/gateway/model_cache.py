"""Verified versions on this machine's disk, so that a restart serves at once, with MLflow down too.

    <directory>/<model>/current.json   versions that passed verification here, newest first, with their bundle's SHA-256
    <directory>/<model>/<version>/     the bundle

Nothing is served from disk unverified: disks rot and people edit. What fails is dropped from the cache.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from dojo.bundle import BUNDLE_HASH_TAG, CorruptBundleError, load_bundle
from dojo.registry import ModelRegistry, Version
from dojo.specs import ModelSpec
from services.gateway.serving import ServedModel

# The champion, the one before it for a rollback, and one more in case that one is bad too. About 1 MB each.
KEPT_VERSIONS = 3


class CachedVersion(msgspec.Struct, frozen=True):
    version: str
    sha256: str


class _Index(msgspec.Struct):
    versions: list[CachedVersion] = []


class ModelCache:
    """One model's versions on disk. Blocking: call from a thread.

    Args:
        rejected: told of each version that fails verification, and why.
    """

    def __init__(self, directory: Path, spec: ModelSpec, rejected: Callable[[str, CorruptBundleError], None]) -> None:
        self._directory = directory / spec.name
        self._spec = spec
        self._rejected = rejected

    def newest(self) -> ServedModel | None:
        """The newest cached version that passes verification."""
        for leftover in self._directory.glob(".incoming-*"):  # of a download that a kill interrupted
            shutil.rmtree(leftover, ignore_errors=True)
        for cached in self._index().versions:
            if (served := self._load(cached)) is not None:
                return served
        return None

    def is_version(self, served: ServedModel, version: Version) -> bool:
        """Whether `served` is this very version: a registry that was rebuilt numbers its versions from 1 again."""
        return (served.version, served.sha256) == (version.version, version.tags.get(BUNDLE_HASH_TAG))

    def get(self, version: Version, registry: ModelRegistry) -> ServedModel:
        """A version, from disk or else from the registry.

        Raises:
            CorruptBundleError: it must not be served.
            RegistryUnavailableError, UnknownVersionError: it cannot be had.
        """
        expected = version.tags.get(BUNDLE_HASH_TAG)
        if expected is None:
            raise CorruptBundleError(f"version {version.version} has no {BUNDLE_HASH_TAG} tag to be verified against")
        cached = CachedVersion(version.version, expected)
        if cached in self._index().versions and (served := self._load(cached)) is not None:
            self._remember(cached)
            return served
        self._directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=self._directory) as incoming:
            bundle = registry.download(version, Path(incoming))
            served = self._verified(bundle, cached)
            final = self._directory / version.version
            shutil.rmtree(final, ignore_errors=True)
            bundle.replace(final)
        self._remember(cached)
        return served

    def _load(self, cached: CachedVersion) -> ServedModel | None:
        try:
            return self._verified(self._directory / cached.version, cached)
        except CorruptBundleError as error:
            self._rejected(cached.version, error)
            self._write([other for other in self._index().versions if other != cached])
            shutil.rmtree(self._directory / cached.version, ignore_errors=True)
            return None

    def _verified(self, directory: Path, cached: CachedVersion) -> ServedModel:
        bundle, scorer = load_bundle(directory, cached.sha256)
        served = ServedModel(self._spec, cached.version, cached.sha256, bundle, scorer)
        served.warm()
        return served

    def _remember(self, cached: CachedVersion) -> None:
        others = [other for other in self._index().versions if other.version != cached.version]
        kept = [cached, *others][:KEPT_VERSIONS]
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
