"""`python -m dojo.stack.mlflow_server <arguments of mlflow server>`: MLflow's server, one process.

MLflow's own command imports all of MLflow and checks the database. Then it waits for a second
process, which imports all of MLflow again. The first one costs 7 s of processor time and 285 MB. A
file may say that the database has the installed version's schema. This module then becomes the
second process. Otherwise it becomes MLflow's own command.

`_environment` and `_command` spell what MLflow's command would. A test compares them.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from dojo.stack.blank_databases import begin

SQLITE = "sqlite:///"


def start(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the server's command, and what it adds to the environment."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    database = Path(unquote(given["--backend-store-uri"].removeprefix(SQLITE)))
    if begin("mlflow", database):
        return _command(given), _environment(given)
    return [sys.executable, "-m", "mlflow", "server", *arguments], {}


def _command(given: Mapping[str, str]) -> list[str]:
    package = find_spec("mlflow")
    assert package is not None
    assert package.origin is not None
    log_config = Path(package.origin).parent / "server" / "uvicorn_log_config.yaml"
    return [
        *(sys.executable, "-m", "uvicorn"),
        *("--log-config", str(log_config)),
        *("--host", given["--host"]),
        *("--port", given["--port"]),
        *("--workers", given["--workers"]),
        "mlflow.server.fastapi_app:app",
    ]


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    store = given["--backend-store-uri"]
    return {
        **dict.fromkeys(("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"), store),
        **dict.fromkeys(("_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_REGISTRY_STORE"), store),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": given["--artifacts-destination"],
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_BOOT_ID": uuid.uuid4().hex,
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        "_MLFLOW_SGI_NAME": "uvicorn",
        # MLflow's defaults.
        "MLFLOW_ENABLE_WORKSPACES": "false",
        "MLFLOW_SERVER_SECRETS_CACHE_MAX_SIZE": "1000",
        "MLFLOW_SERVER_SECRETS_CACHE_TTL": "60",
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "SAMEORIGIN",
        "MLFLOW_SERVER_ALLOWED_HOSTS": given["--allowed-hosts"],
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": given["--cors-allowed-origins"],
    }


def main() -> None:
    command, environment = start(sys.argv[1:])
    os.execve(command[0], command, {**os.environ, **environment})


if __name__ == "__main__":
    main()
