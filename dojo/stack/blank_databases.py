"""Databases with a server's schema and no content, from which new homes begin.

MLflow and Airflow take 6 s of processor time each to make their schemas. `make setup` has that done
once, and a new home begins with a copy.

    <environment>/share/dojo/<server>-<version>.db

Without such a file a server makes its own schema, as ever.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

PACKAGES = {"mlflow": "mlflow", "airflow": "apache-airflow-core"}
MARKER = "schema"  # beside a database: the version that made its schema

# As the server itself does at its first start, with its default experiment. The experiment's
# artifacts go through the server, so no path of this machine is in the database.
_MLFLOW = """
import sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
SqlAlchemyStore(sys.argv[1], "mlflow-artifacts:/")
Registry(sys.argv[1])
"""


def blank_database(server: str) -> Path:
    """Return where the blank database of the installed version is, if there is one."""
    name = f"{server}-{version(PACKAGES[server])}.db"
    return Path(sys.prefix) / "share" / "dojo" / name


def begin(server: str, database: Path) -> bool:
    """Give a new home a copy of the blank database.

    Returns:
        Whether the database has the installed version's schema, as far as it is known here.
    """
    if database.exists():
        marker = database.with_name(MARKER)
        return marker.exists() and marker.read_text() == version(PACKAGES[server])
    with contextlib.suppress(FileNotFoundError):
        incoming = database.with_suffix(".incoming")
        shutil.copyfile(blank_database(server), incoming)
        incoming.chmod(0o600)
        mark(server, database)
        incoming.replace(database)
        return True
    return False


def mark(server: str, database: Path) -> None:
    """Note that a database has the installed version's schema."""
    database.with_name(MARKER).write_text(version(PACKAGES[server]))


def make(server: str, target: Path) -> None:
    """Make a blank database.

    Raises:
        subprocess.CalledProcessError: The server's own package could not.
    """
    # It imports the settings. MLflow's start has no use for them.
    from dojo.stack.airflow_server.home import component_environment

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        database = Path(directory) / "blank.db"
        url = f"sqlite:///{database}"
        if server == "mlflow":
            command, environment = [sys.executable, "-c", _MLFLOW, url], dict(os.environ)
        else:
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            environment = {
                **component_environment(os.environ, Path(directory)),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            }
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        database.replace(target)


def main() -> int:
    """Make what is missing. A failure is told, and nothing depends on it."""
    for server in PACKAGES:
        target = blank_database(server)
        if target.exists():
            continue
        for old in target.parent.glob(f"{server}-*.db"):
            old.unlink()
        try:
            make(server, target)
        except (OSError, subprocess.CalledProcessError) as error:
            detail = (getattr(error, "stderr", "") or "").strip().splitlines()[-1:]
            sys.stderr.write(f"no blank database for {server}: {error} {''.join(detail)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
