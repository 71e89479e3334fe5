"""The reference profile of a version, from the registry.

The monitor asks for it once, and again after a while if the registry could not deliver it.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from dojo.core.registry.bundle import PROFILE_FILE, CorruptBundleError, verify_bundle
from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.reference_profile import ReferenceProfile, UnusableProfileError
from dojo.core.registry.versions import ModelRegistry
from services.monitor.counting.state import NO_VERSION, Key

# Wall seconds until the next question, when MLflow is away or a version is not registered yet.
RETRY_SECONDS = 15.0

_log = structlog.get_logger("monitor.profiles")


class Profiles:
    """Profiles of versions. `why` holds the reason for a missing one."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._ask_again: dict[Key, float] = {}
        self.why: dict[Key, str] = {}

    def fetch(self, key: Key) -> ReferenceProfile | None:
        """Return the version's profile, or None with the reason in `why`.

        A registry that is away raises no error.
        """
        if key[1] == NO_VERSION or time.monotonic() < self._ask_again.get(key, 0.0):
            return None
        try:
            profile = self._download(key)
        except (RegistryUnavailableError, UnknownVersionError) as error:
            self._ask_again[key] = time.monotonic() + RETRY_SECONDS
            self._note(key, f"the registry has no profile for it yet: {error}")
            return None
        except (UnusableProfileError, CorruptBundleError, OSError) as error:
            self._ask_again[key] = float("inf")  # another question would not change the answer
            self._note(key, str(error))
            return None
        self._ask_again.pop(key, None)
        self.why.pop(key, None)
        return profile

    def _note(self, key: Key, why: str) -> None:
        _log.warning("no reference profile", model=key[0], version=key[1], reason=why)
        self.why[key] = why

    def _download(self, key: Key) -> ReferenceProfile:
        version = self._registry.get(*key)
        with TemporaryDirectory() as directory:
            bundle = self._registry.download(version, Path(directory))
            verify_bundle(bundle, self._registry.sealed_sha256(version))
            return ReferenceProfile.read(bundle / PROFILE_FILE).require_monitoring()
