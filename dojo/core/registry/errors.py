"""What can go wrong between the platform and its model registry."""

from __future__ import annotations


class RegistryUnavailableError(ConnectionError):
    """MLflow cannot be reached or does not answer. The last known state stays valid."""


class UnknownVersionError(LookupError):
    """No such model, version or alias in the registry."""


class NoPreviousChampionError(LookupError):
    """There is no version to go back to."""


class UnsealedVersionError(RuntimeError):
    """A version whose record in MLflow is not what the platform registered."""

    def __init__(self, fault: str, model: str, version: str) -> None:
        super().__init__(fault)
        self.next_step = (
            f"dojo models show {model}@{version}, then dojo models seal {model}@{version} --why ..."
        )
