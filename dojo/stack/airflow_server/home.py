"""Airflow's home: configuration, secrets and password, made at the first start and kept."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template

from dojo.core.airflow_access import PASSWORDS_FILE, USER
from dojo.core.private import kept_text, write_private
from dojo.core.settings import Settings
from dojo.stack.servers import sqlite_url

CONFIGURATION_FILE = "airflow.cfg"
SECRETS_FILE = "secrets.json"

TEMPLATE = Path(__file__).parent / CONFIGURATION_FILE
DAGS_FOLDER = Path(__file__).parents[3] / "pipelines" / "dags"


def prepare(settings: Settings) -> Path:
    """Write what Airflow reads. Returns its home, an absolute path."""
    home = settings.airflow_home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    _kept(home / PASSWORDS_FILE, lambda: {USER: secrets.token_urlsafe(12)})
    kept = _kept(home / SECRETS_FILE, _new_secrets)
    write_private(home / CONFIGURATION_FILE, configuration(settings, home, kept))
    return home


def keep_password(home: Path, password: str) -> None:
    """Set the user's password, and replace an earlier one."""
    write_private(home / PASSWORDS_FILE, json.dumps({USER: password}) + "\n")


def configuration(settings: Settings, home: Path, kept: dict[str, str]) -> str:
    """airflow.cfg for these settings. `kept`: fernet_key, secret_key, jwt_secret."""
    values = {
        "home": str(home),
        "database": sqlite_url(database(home)),
        "dags_folder": str(DAGS_FOLDER),
        "host": settings.host,
        "port": str(settings.airflow_port),
        "url": f"http://{settings.own_host}:{settings.airflow_port}",
        "user": USER,
        **kept,
    }
    # A `%` in a path would be an interpolation to Airflow's parser.
    return Template(TEMPLATE.read_text()).substitute(
        {name: value.replace("%", "%%") for name, value in values.items()}
    )


def component_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Leave out the shell's AIRFLOW_* variables, which belong to another Airflow.

    Airflow would prefer them to the home's configuration.
    """
    ours = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("AIRFLOW_", "_AIRFLOW_"))
    }
    return {**ours, "AIRFLOW_HOME": str(home)}


def database(home: Path) -> Path:
    return home / "airflow.db"


def _new_secrets() -> dict[str, str]:
    return {
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "secret_key": secrets.token_hex(32),
        "jwt_secret": secrets.token_hex(64),  # HS512 wants 64 bytes
    }


def _kept(path: Path, make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The file's content. The first call makes it."""
    kept: dict[str, str] = json.loads(kept_text(path, lambda: json.dumps(make()) + "\n"))
    return kept
