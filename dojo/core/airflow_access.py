"""How to reach Airflow: its address, user and password.

It only reads. The first start of the embedded Airflow makes its password.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dojo.core.settings import Settings

USER = "admin"  # of the embedded Airflow: one person's machine
PASSWORDS_FILE = (  # below its home, as Airflow's SimpleAuthManager keeps it: {user: password}
    "passwords.json"
)


@dataclass(frozen=True, slots=True)
class AirflowAccess:
    """Address and credentials of Airflow.

    Attributes:
        url: Address without credentials and without a slash at its end.
        given: The password in the settings. It wins. `repr` never prints it.
        kept: The embedded Airflow's own passwords.
    """

    url: str
    user: str
    given: str = field(repr=False)
    kept: Path | None = None

    @property
    def password(self) -> str:
        """The password, empty where none is known.

        Each look reads it, because processes that start beside the embedded Airflow are often ready
        before it has made one.
        """
        if self.given or self.kept is None:
            return self.given
        try:
            return str(json.loads(self.kept.read_text()).get(self.user, ""))
        except (OSError, json.JSONDecodeError):
            return ""  # never started


def airflow_access(settings: Settings) -> AirflowAccess | None:
    """The Airflow of these settings: elsewhere, embedded, or None when the stack is run without."""
    if settings.airflow_url:
        parts = urlsplit(settings.airflow_url)
        netloc = parts.netloc.rpartition("@")[2]
        url = parts._replace(netloc=netloc).geturl().rstrip("/")
        return AirflowAccess(url, unquote(parts.username or USER), unquote(parts.password or ""))
    if "airflow" in settings.without:
        return None
    return AirflowAccess(
        settings.url_of("airflow"), USER, "", settings.airflow_home / PASSWORDS_FILE
    )
