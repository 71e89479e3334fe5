"""The champion's part in a retraining: its reference profile, and how far it has seen the world."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import structlog
import yaml

from dojo.core.registry.bundle import PROFILE_FILE
from dojo.core.registry.errors import UnknownVersionError
from dojo.core.registry.reference_profile import ReferenceProfile, UnusableProfileError
from dojo.core.registry.versions import CHAMPION, ModelRegistry, Version
from dojo.core.spec.durations import parse_duration
from pipelines.release.mlflow_run import RECORD_PATH
from pipelines.training.dataset.collect import MANIFEST_FILE, Manifest

log = structlog.get_logger()


def champion_profile(registry: ModelRegistry, model: str) -> ReferenceProfile | None:
    """Return the reference profile with which the champion was registered.

    None without a champion, when its bundle is gone, or when an older release wrote the profile.
    """
    champion = registry.by_alias(model, CHAMPION)
    if champion is None:
        return None
    with TemporaryDirectory() as directory:
        try:
            return ReferenceProfile.read(
                registry.download(champion, Path(directory)) / PROFILE_FILE
            )
        except (UnusableProfileError, UnknownVersionError) as error:
            log.warning(
                "features are not held to the champion's",
                model=model,
                version=champion.version,
                reason=str(error),
            )
            return None


def seen_until(version: Version, registry: ModelRegistry) -> datetime | None:
    """Return the world time up to which a version has seen payments, by its own record.

    None without such a record. Fitting ends where the version's validation week begins. Trees and
    threshold are chosen on that week. So the version has seen the world up to its own holdout.

    Raises:
        RegistryUnavailableError: MLflow does not answer.
    """
    with TemporaryDirectory() as directory:
        try:
            record = registry.download_run_artifact(version, RECORD_PATH, Path(directory))
            manifest = Manifest.read(record / MANIFEST_FILE)
            # Only this part of the recorded spec, because the rest may have an older schema.
            spec = yaml.safe_load((record / f"{version.model}.yaml").read_text())
            return manifest.end - parse_duration(spec["training"]["holdout"])
        except (UnknownVersionError, FileNotFoundError, KeyError, msgspec.MsgspecError):
            return None
