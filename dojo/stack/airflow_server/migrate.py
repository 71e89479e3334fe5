"""Writes Airflow's configuration, password and database schema.

It serves stacks where Airflow's components are containers. `python -m
dojo.stack.airflow_server.migrate` runs once before they start, and again after an upgrade. It
brings an older database up to the installed Airflow.
"""

from __future__ import annotations

import os
import sys

from dojo.core.settings import SettingsError, load_settings
from dojo.stack.airflow_server.home import keep_password, prepare


def main() -> int:
    try:
        settings = load_settings()
        password = os.environ["AIRFLOW_PASSWORD"]
    except (SettingsError, KeyError) as error:
        sys.stderr.write(f"missing: {error}\n")
        return 2
    home = prepare(settings)
    keep_password(home, password)
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    os.execve(command[0], command, {**os.environ, "AIRFLOW_HOME": str(home)})


if __name__ == "__main__":
    sys.exit(main())
