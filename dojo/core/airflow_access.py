"""How to reach Airflow: its address, user and password.

It only reads. The first start of the embedded Airflow makes its password.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
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
        password: Empty where none is known. `repr` never prints it.
    """

    url: str
    user: str
    password: str = field(repr=False)


def airflow_access(settings: Settings) -> AirflowAccess | None:
    """The Airflow of these settings: elsewhere, embedded, or None when the stack is run without."""
    if settings.airflow_url:
        parts = urlsplit(settings.airflow_url)
        netloc = parts.netloc.rpartition("@")[2]
        url = parts._replace(netloc=netloc).geturl().rstrip("/")
        return AirflowAccess(url, unquote(parts.username or USER), unquote(parts.password or ""))
    if "airflow" in settings.without:
        return None
    try:
        passwords = json.loads((settings.airflow_home / PASSWORDS_FILE).read_text())
    except (OSError, json.JSONDecodeError):
        passwords = {}  # never started
    return AirflowAccess(settings.url_of("airflow"), USER, str(passwords.get(USER, "")))
