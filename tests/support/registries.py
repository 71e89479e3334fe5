"""The registry as a platform of the tests sees it: with a seal key that all its processes share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from dojo.core.registry.seals import Seals
from dojo.core.registry.versions import ModelRegistry
from dojo.core.settings import Settings

SEAL_KEY = "the-tests-seal-key"

# Where registries write their anchors. conftest.py sets the session's own directory.
anchors: Path | None = None


def sealed_registry(
    url: str, timeout_seconds: int = 30, retries: int = 3, home: Path | None = None
) -> ModelRegistry:
    """home: where its anchors are written; default: a directory of its own."""
    settings = Settings(
        home=home or Path(tempfile.mkdtemp(prefix="anchors-", dir=anchors)), seal_key=SEAL_KEY
    )
    return ModelRegistry(url, timeout_seconds, retries, Seals(settings))


def bring_to(
    registry: ModelRegistry,
    model: str,
    roles: Mapping[str, str],
    tags: Mapping[str, Mapping[str, str]],
) -> None:
    """Give a model's versions exactly these roles and tags, by the fewest requests.

    Args:
        roles: Alias -> version.
        tags: Version -> its tags as they are stored. Versions that are not named have none.
    """
    versions = registry.versions(model)
    held = {alias: version.version for version in versions for alias in version.aliases}
    for alias in held.keys() - roles.keys():
        registry.api.delete_registered_model_alias(model, alias)
    for alias, holder in roles.items():
        if held.get(alias) != holder:
            registry.set_alias(model, alias, holder)
    for version in versions:
        there, wanted = version.tags.raw, tags.get(version.version, {})
        for name in there.keys() - wanted.keys():
            registry.api.delete_model_version_tag(model, version.version, name)
        for name, value in wanted.items():
            if there.get(name) != value:
                registry.api.set_model_version_tag(model, version.version, name, value)


def roles_of(registry: ModelRegistry, model: str) -> dict[str, str]:
    """Alias -> the version that holds it."""
    return {
        alias: version.version for version in registry.versions(model) for alias in version.aliases
    }
