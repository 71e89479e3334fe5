"""The model registry: versions and the roles they hold, in MLflow.

Roles are registry aliases. The `champion` answers traffic. The `challenger` is the newest version
that would like to become champion. A rollback returns to the `previous_champion`. Everything that
a server or an auditor needs is in the version's tags.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dojo.core.registry.errors import UnknownVersionError, UnsealedVersionError
from dojo.core.registry.mlflow_answers import ModelVersion
from dojo.core.registry.mlflow_api import MlflowApi
from dojo.core.registry.seals import Seals
from dojo.core.registry.tags import ROLLED_BACK, VersionTags
from dojo.core.settings import Settings

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS_CHAMPION = "previous_champion"


@dataclass(frozen=True, slots=True)
class Version:
    """One registered model version. `source` is the URI of its bundle directory."""

    model: str
    version: str
    run_id: str
    source: str
    tags: VersionTags
    aliases: tuple[str, ...]


class ModelRegistry:
    """MLflow's registry as this platform uses it.

    Args:
        url: Address of the tracking server.
        timeout_seconds: Limit of each HTTP request. A short one suits servers that can go on
            without MLflow.
        retries: Repetitions of each HTTP request, 0 for a single try.
        seals: The platform's seals. With None, versions can be looked up, but neither registered,
            promoted nor loaded.
    """

    def __init__(
        self, url: str, timeout_seconds: int = 30, retries: int = 3, seals: Seals | None = None
    ) -> None:
        self.url, self.timeout_seconds, self.retries = url, timeout_seconds, retries
        self.api = MlflowApi(url, timeout_seconds, retries)
        self._seals = seals

    @classmethod
    def of(cls, settings: Settings, timeout_seconds: int = 30, retries: int = 3) -> Self:
        """The registry of these settings, with the platform's seals."""
        return cls(settings.mlflow, timeout_seconds, retries, Seals(settings))

    @property
    def seals(self) -> Seals:
        """Raises RuntimeError when the registry was opened without seals."""
        if self._seals is None:
            raise RuntimeError(
                f"the registry at {self.url} was opened without seals: use"
                " ModelRegistry.of(settings)"
            )
        return self._seals

    def models(self) -> list[str]:
        """Names of the registered models, sorted. Raises RegistryUnavailableError."""
        return sorted(model.name for model in self.api.search_registered_models())

    def has_model(self, model: str) -> bool:
        """Whether the model is registered, with or without versions.

        Raises RegistryUnavailableError.
        """
        try:
            self.api.get_registered_model(model)
        except UnknownVersionError:
            return False
        return True

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version that holds a role, or None. Raises RegistryUnavailableError."""
        try:
            return _version(self.api.get_model_version_by_alias(model, alias))
        except UnknownVersionError:
            return None

    def get(self, model: str, version: str) -> Version:
        """One version. Raises UnknownVersionError, RegistryUnavailableError."""
        return _version(self.api.get_model_version(model, version))

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, oldest first. Empty for a model that was never trained."""
        # Search results carry no aliases, unlike the registered model.
        try:
            aliases = self.api.get_registered_model(model).aliases
        except UnknownVersionError:
            return []
        found = sorted(self.api.search_model_versions(model), key=lambda v: int(v.version))
        return [
            _version(v, tuple(a.alias for a in aliases if a.version == v.version)) for v in found
        ]

    def register(self, model: str, run_id: str, source: str, tags: VersionTags) -> Version:
        """Register a bundle as a new version, sealed.

        Registering the same run again returns the version it already has.
        """
        if model not in self.models():
            self.api.create_registered_model(model)
        found = next((v for v in self.versions(model) if v.run_id == run_id), None)
        version = (
            found.version
            if found
            else self.api.create_model_version(model, source, run_id, tags.written()).version
        )
        if found is None or found.tags.seal is None:
            # The seal covers the given tags, not the tags that MLflow has by now.
            given = VersionTags.read(tags.written()).sealed
            self.tag(
                model, version, VersionTags(seal=self.seals.seal(model, version, run_id, given))
            )
        return self.get(model, version)

    def seal(self, version: Version) -> None:
        """Seal a version's record as it stands in MLflow now.

        A person vouches for it (dojo/actions/roles.py).
        """
        seal = self.seals.seal(version.model, version.version, version.run_id, version.tags.sealed)
        self.tag(version.model, version.version, VersionTags(seal=seal))

    def seal_fault(self, version: Version) -> str:
        """What is wrong with a version's record in MLflow, "" when it is as it was registered."""
        name, tags = f"{version.model}@{version.version}", version.tags
        if tags.seal is None:
            return f"the record of {name} in MLflow has no seal of this platform"
        if not self.seals.fits(
            tags.seal, version.model, version.version, version.run_id, tags.sealed
        ):
            return (
                f"the record of {name} in MLflow is not what was sealed: a tag was changed, or"
                " DOJO_SEAL_KEY is another one"
            )
        return ""

    def require_seal(self, version: Version) -> None:
        """Raises UnsealedVersionError."""
        if fault := self.seal_fault(version):
            raise UnsealedVersionError(fault, version.model, version.version)

    def sealed_sha256(self, version: Version) -> str:
        """The SHA-256 that a version's bundle.json must have.

        Raises CorruptBundleError when the record cannot be relied on.
        """
        from dojo.core.registry.bundle import (
            CorruptBundleError,
        )  # ONNX Runtime: only processes that load bundles have it

        if fault := self.seal_fault(version):
            raise CorruptBundleError(
                f"{fault}; next: dojo models seal {version.model}@{version.version} --why ..."
            )
        if version.tags.bundle_sha256 is None:
            raise CorruptBundleError(
                f"version {version.version} has no bundle_sha256 tag to be verified against"
            )
        return version.tags.bundle_sha256

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Give a role to a version. The version that held it loses it.

        Raises UnknownVersionError, RegistryUnavailableError.
        """
        self.api.set_registered_model_alias(model, alias, version)

    def remove_alias(self, model: str, alias: str) -> None:
        """Take a role away from the version that holds it, if any does.

        Raises RegistryUnavailableError.
        """
        if self.by_alias(model, alias) is not None:
            self.api.delete_registered_model_alias(model, alias)

    def tag(self, model: str, version: str, tags: VersionTags) -> None:
        """Set the tags that have a value. Others stay.

        Raises UnknownVersionError, RegistryUnavailableError.
        """
        for name, value in tags.written().items():
            self.api.set_model_version_tag(model, version, name, value)

    def promote(self, model: str, version: str) -> None:
        """Make a version the champion, and the champion the previous one.

        If it is killed between its steps, run it again. The champion's alias moves after the steps
        that depend on its old holder. It moves before the steps that must not be seen while
        another version answers.

        Raises:
            UnknownVersionError, RegistryUnavailableError
        """
        wanted = self.get(model, version)  # an unknown version must not cost the champion its role
        champion = self.by_alias(model, CHAMPION)
        if champion is None or champion.version != version:
            if champion is not None:
                self.set_alias(model, PREVIOUS_CHAMPION, champion.version)
            self.set_alias(model, CHAMPION, version)
        # These aliases are asked for only now. `version` may have held them a moment ago.
        for alias in (CHALLENGER, PREVIOUS_CHAMPION):
            self._take_from(model, alias, version)
        if wanted.tags.rolled_back is not None:
            self.api.delete_model_version_tag(model, version, ROLLED_BACK)

    def roll_back(self, model: str, to: str, why: str, rejected: str = "") -> None:
        """Make `to` the champion again and mark the rejected version with the reason.

        If it is killed between its steps, run it again. The version that is rolled back holds no
        role afterwards, because a second rollback must not bring it back.

        Args:
            rejected: The version that is rolled back. It may never have become champion (a failed
                canary).

        Raises:
            UnknownVersionError, RegistryUnavailableError
        """
        self.get(model, to)
        champion = self.by_alias(model, CHAMPION)
        marked = {rejected, champion.version if champion else ""} - {"", to}
        for version in sorted(marked):
            with suppress(
                UnknownVersionError
            ):  # deleted meanwhile: it cannot be marked, nor come back
                self.tag(model, version, VersionTags(rolled_back=why))
        if champion is None or champion.version != to:
            self.set_alias(model, CHAMPION, to)
        self._take_from(model, PREVIOUS_CHAMPION, to)
        for version in sorted(marked):
            for alias in (CHALLENGER, PREVIOUS_CHAMPION):
                self._take_from(model, alias, version)

    def put_back(self, model: str, version: str) -> None:
        """Make a version the champion again whose role was taken past the platform.

        If it is killed between its steps, run it again. The version that holds the role now never
        earned it, so it does not become the previous champion.

        Raises:
            UnknownVersionError, RegistryUnavailableError
        """
        self.get(model, version)
        self.set_alias(model, CHAMPION, version)
        for alias in (CHALLENGER, PREVIOUS_CHAMPION):
            self._take_from(model, alias, version)

    def _take_from(self, model: str, alias: str, version: str) -> None:
        holder = self.by_alias(model, alias)
        if holder is not None and holder.version == version:
            self.remove_alias(model, alias)

    def download(self, version: Version, target: Path) -> Path:
        """Copy a version's bundle into `target` and return the bundle's directory.

        `target` is made if it is missing.
        """
        target.mkdir(parents=True, exist_ok=True)
        return self.api.get_artifacts(version.source, target)

    def download_run_artifact(self, version: Version, path: str, target: Path) -> Path:
        """Copy a file or directory that the version's run logged beside the bundle into `target`.

        Returns its path.
        """
        return self.run_artifact(version.run_id, path, target)

    def run_artifact(self, run_id: str, path: str, target: Path) -> Path:
        """Do the same for any run, which need not be a version's."""
        target.mkdir(parents=True, exist_ok=True)
        return self.api.get_artifacts(
            f"{self.api.get_run(run_id).info.artifact_uri}/{path}", target
        )


def _version(found: ModelVersion, aliases: tuple[str, ...] | None = None) -> Version:
    return Version(
        model=found.name,
        version=found.version,
        run_id=found.run_id,
        source=found.source,
        tags=VersionTags.read({tag.key: tag.value for tag in found.tags}),
        aliases=found.aliases if aliases is None else aliases,
    )
