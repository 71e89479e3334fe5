"""What can go wrong between the platform and its model registry."""

from __future__ import annotations


class RegistryUnavailableError(ConnectionError):
    """MLflow cannot be reached or does not answer; the last known state stays valid."""


class UnknownVersionError(LookupError):
    """No such model, version or alias in the registry."""


class NoPreviousChampionError(LookupError):
    """There is no version to go back to."""
