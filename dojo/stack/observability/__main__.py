"""Writes the files that Prometheus or Alertmanager reads, then becomes that server.

    python -m dojo.stack.observability prometheus|alertmanager
    python -m dojo.stack.observability files

`files` writes the files of both and ends. It serves stacks where the servers are containers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dojo.core.settings import Settings, SettingsError, load_settings
from dojo.core.spec.names import owner_of
from dojo.core.spec.read import SpecError
from dojo.stack.observability.commands import alertmanager_command, prometheus_command
from dojo.stack.observability.files import prepare_alertmanager, prepare_prometheus
from dojo.stack.observability.installed import ALERTMANAGER, PROMETHEUS, binary, how_to_install
from dojo.stack.table import processes
from feature_repo.specs import load


def main(arguments: list[str]) -> int:
    if arguments not in (["prometheus"], ["alertmanager"], ["files"]):
        sys.stderr.write(
            "which one? python -m dojo.stack.observability prometheus, alertmanager, or files\n"
        )
        return 2
    (name,) = arguments
    try:
        settings = load_settings()
        if name == "files":
            # Servers of other users read the files. They hold no secret.
            os.umask(0o022)
            _prometheus_files(settings)
            prepare_alertmanager(settings)
            settings.home.chmod(0o755)
            return 0
        command = _prometheus(settings) if name == "prometheus" else _alertmanager(settings)
    except (SettingsError, SpecError, NotInstalledError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    os.execv(command[0], command)  # signals and the exit code are the server's own


class NotInstalledError(RuntimeError):
    """The server is not installed on this machine. The message says how to install it."""


def _prometheus_files(settings: Settings) -> Path:
    targets = {spec.name: spec.port for spec in processes(settings) if spec.metrics}
    loaded = load(settings)
    teams = {name: spec.owner for name, spec in loaded.specs.items()} | {
        name: owner_of(settings.models_dir, name) for name in loaded.faults
    }
    return prepare_prometheus(settings, targets, teams)


def _prometheus(settings: Settings) -> list[str]:
    home = _prometheus_files(settings)
    os.chdir(home)
    return prometheus_command(_binary(PROMETHEUS), settings, home)


def _alertmanager(settings: Settings) -> list[str]:
    return alertmanager_command(_binary(ALERTMANAGER), settings, prepare_alertmanager(settings))


def _binary(names: tuple[str, ...]) -> str:
    if (path := binary(names)) is None:
        raise NotInstalledError(f"{names[-1]} is not installed: {how_to_install()}")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
