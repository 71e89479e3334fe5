"""MLflow's own client, for the runs, metrics and artifacts of training.

All other code uses `dojo.core.registry.versions`.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING

from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.versions import ModelRegistry

if TYPE_CHECKING:
    from mlflow import MlflowClient


def tracking_client(registry: ModelRegistry) -> MlflowClient:
    """Return MLflow's client for the registry's server, with the registry's timeout and retries."""
    # MLflow reads both from the environment only. With its defaults (120 s, 7 retries with backoff)
    # a caller waits for minutes.
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(registry.timeout_seconds)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(registry.retries)
    return _client(registry.url)


@lru_cache
def _client(url: str) -> MlflowClient:
    from mlflow import MlflowClient  # 6 s to import, so only when there is something to log

    return MlflowClient(tracking_uri=url, registry_uri=url)


class tracking_errors(AbstractContextManager[None]):  # noqa: N801 -- used like a function
    """Turns MLflow's many errors into UnknownVersionError and RegistryUnavailableError."""

    def __init__(self, model: str, what: str) -> None:
        self._asked = f"{model}@{what}"

    def __enter__(self) -> None: ...

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException

        if isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise UnknownVersionError(
                f"{self._asked}: not in the registry ({error.message})"
            ) from error
        if isinstance(error, (MlflowException, RequestException)):
            raise RegistryUnavailableError(
                f"{self._asked}: MLflow did not answer: {error}"
            ) from error
