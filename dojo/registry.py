"""The model registry: versions and the roles they hold, in MLflow.

Roles are registry aliases: `champion` is the version that answers traffic, `challenger` the newest one that would like to,
`previous_champion` the one to go back to. Everything that a server or an auditor needs is in the version's tags.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS_CHAMPION = "previous_champion"

# Tags of a version beside its reproducibility record: the gate's verdict, who approved it and why, why it was taken back, and as
# `audit.<sequence>` the hash of each audit entry that made it champion (dojo/audit.py says what for).
GATE_TAG = "gate_verdict"
APPROVAL_TAG = "approval"
ROLLED_BACK_TAG = "rolled_back"
AUDIT_TAG_PREFIX = "audit."

# Address of the version's newest drift report, a page in its run's artifacts (pipelines/drift_report).
DRIFT_REPORT_TAG = "drift_report"


class RegistryUnavailableError(ConnectionError):
    """MLflow cannot be reached or does not answer; the last known state stays valid."""


class NoPreviousChampionError(LookupError):
    """There is no version to go back to."""


class UnknownVersionError(LookupError):
    """No such model, version or alias in the registry."""


@dataclass(frozen=True, slots=True)
class Version:
    """One registered model version. `source` is the URI of its bundle directory."""

    model: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]


class ModelRegistry:
    """MLflow's registry as this platform uses it.

    Args:
        url: the tracking server.
        timeout_seconds, retries: for each HTTP request. MLflow's own defaults (120 s, 7 retries with backoff) keep a caller
            waiting for minutes; servers that can go on without MLflow want a short, single try.
    """

    def __init__(self, url: str, timeout_seconds: int = 30, retries: int = 3) -> None:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_seconds)
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(retries)
        from mlflow import MlflowClient  # seconds to import: not before somebody needs it

        self.url = url
        self.client = MlflowClient(tracking_uri=url, registry_uri=url)

    def models(self) -> list[str]:
        """Names of the registered models, sorted. Raises RegistryUnavailableError."""
        with _Translated("*", "*"):
            return sorted(model.name for model in self.client.search_registered_models())

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version that holds a role, or None. Raises RegistryUnavailableError."""
        with _Translated(model, alias):
            try:
                return _version(self.client.get_model_version_by_alias(model, alias))
            except UnknownVersionError:
                return None
            except Exception as error:
                if _is_missing(error):
                    return None
                raise

    def get(self, model: str, version: str) -> Version:
        """One version. Raises UnknownVersionError, RegistryUnavailableError."""
        with _Translated(model, version):
            found = _version(self.client.get_model_version(model, version))
        return found

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, oldest first; empty for a model that was never trained."""
        with _Translated(model, "*"):
            # Search results carry no aliases; the registered model does.
            found = self.client.search_model_versions(f"name='{model}'")
            return sorted((self.get(model, v.version) for v in found), key=lambda v: int(v.version))

    def register(self, model: str, run_id: str, source: str, tags: Mapping[str, str]) -> Version:
        """Register a bundle as a new version. Registering the same run again returns the version it already has."""
        with _Translated(model, run_id):
            if not any(m.name == model for m in self.client.search_registered_models(f"name='{model}'")):
                self.client.create_registered_model(model)
            existing = [v for v in self.versions(model) if v.run_id == run_id]
            if existing:
                return existing[0]
            created = self.client.create_model_version(model, source=source, run_id=run_id, tags=dict(tags))
            return self.get(model, created.version)

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Give a role to a version; the version that held it loses it. Raises UnknownVersionError, RegistryUnavailableError."""
        with _Translated(model, version):
            self.client.set_registered_model_alias(model, alias, version)

    def remove_alias(self, model: str, alias: str) -> None:
        """Take a role away from whoever holds it; fine when nobody does. Raises RegistryUnavailableError."""
        with _Translated(model, alias):
            if self.by_alias(model, alias) is not None:
                self.client.delete_registered_model_alias(model, alias)

    def set_tag(self, model: str, version: str, name: str, value: str) -> None:
        """Raises UnknownVersionError, RegistryUnavailableError."""
        with _Translated(model, version):
            self.client.set_model_version_tag(model, version, name, value)

    def promote(self, model: str, version: str) -> None:
        """Make a version the champion, and the champion the previous one. Killed between its steps, run it again.

        The champion's alias moves after everything that depends on who held it, and before everything that must not be seen
        while another version answers.

        Raises:
            UnknownVersionError, RegistryUnavailableError
        """
        wanted = self.get(model, version)  # an unknown version must not cost the champion its role
        champion = self.by_alias(model, CHAMPION)
        if champion is None or champion.version != version:
            if champion is not None:
                self.set_alias(model, PREVIOUS_CHAMPION, champion.version)
            self.set_alias(model, CHAMPION, version)
        # The last two aliases are asked for only now: they may have been `version`'s until a moment ago.
        for alias in (CHALLENGER, PREVIOUS_CHAMPION):
            self._take_from(model, alias, version)
        if ROLLED_BACK_TAG in wanted.tags:
            with _Translated(model, version):
                self.client.delete_model_version_tag(model, version, ROLLED_BACK_TAG)

    def roll_back(self, model: str, to: str, why: str, rejected: str = "") -> None:
        """Make `to` the champion again and mark the version that was with the reason. Killed between its steps, run it again.

        The version rolled back from holds no role afterwards: a second rollback must not bring it back.

        Args:
            rejected: the version rolled back from, where it may never have become champion (a failed canary).

        Raises:
            UnknownVersionError, RegistryUnavailableError
        """
        self.get(model, to)
        champion = self.by_alias(model, CHAMPION)
        marked = {rejected, champion.version if champion else ""} - {"", to}
        for version in sorted(marked):
            with suppress(UnknownVersionError):  # deleted meanwhile: it cannot be marked, nor come back
                self.set_tag(model, version, ROLLED_BACK_TAG, why)
        if champion is None or champion.version != to:
            self.set_alias(model, CHAMPION, to)
        self._take_from(model, PREVIOUS_CHAMPION, to)
        for version in sorted(marked):
            for alias in (CHALLENGER, PREVIOUS_CHAMPION):
                self._take_from(model, alias, version)

    def _take_from(self, model: str, alias: str, version: str) -> None:
        holder = self.by_alias(model, alias)
        if holder is not None and holder.version == version:
            self.remove_alias(model, alias)

    def download(self, version: Version, target: Path) -> Path:
        """Copy a version's bundle into `target` (made if missing) and return the bundle's directory."""
        from mlflow.artifacts import download_artifacts

        target.mkdir(parents=True, exist_ok=True)
        with _Translated(version.model, version.version):
            return Path(download_artifacts(artifact_uri=version.source, dst_path=str(target), tracking_uri=self.url))

    def download_run_artifact(self, version: Version, path: str, target: Path) -> Path:
        """Copy a file or directory that the version's run logged beside the bundle into `target`; returns where it is."""
        target.mkdir(parents=True, exist_ok=True)
        with _Translated(version.model, version.version):
            return Path(self.client.download_artifacts(version.run_id, path, str(target)))

    def errors(self, model: str, what: str) -> AbstractContextManager[None]:
        """For callers that use `client` themselves: its errors as UnknownVersionError and RegistryUnavailableError."""
        return _Translated(model, what)


def _version(found: ModelVersion) -> Version:
    return Version(
        model=found.name,
        version=str(found.version),
        run_id=found.run_id or "",
        source=found.source or "",
        tags=dict(found.tags or {}),
        aliases=tuple(found.aliases or ()),
    )


def _is_missing(error: Exception) -> bool:
    """MLflow calls an absent alias, and a version that is no number, an invalid parameter."""
    code, message = getattr(error, "error_code", ""), str(error).lower()
    return code == "RESOURCE_DOES_NOT_EXIST" or (
        code == "INVALID_PARAMETER_VALUE" and ("alias" in message or "version" in message)
    )


class _Translated(AbstractContextManager[None]):
    """MLflow's many errors as this module's two."""

    def __init__(self, model: str, what: str) -> None:
        self._asked = f"{model}@{what}"

    def __enter__(self) -> None: ...

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException

        if isinstance(error, MlflowException) and _is_missing(error):
            raise UnknownVersionError(f"{self._asked}: not in the registry ({error.message})") from error
        if isinstance(error, (MlflowException, RequestException)):
            raise RegistryUnavailableError(f"{self._asked}: MLflow did not answer: {error}") from error
