"""The registry as a platform of the tests sees it: with a seal key that all its processes share."""

from __future__ import annotations

import tempfile
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
