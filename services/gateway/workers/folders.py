"""Where each worker keeps its cached versions, routes, clock and spool.

    <home>/gateway             the first worker, or the only process
    <home>/gateway/worker-2    the second worker, and so on

Two processes in one folder would delete each other's versions. A folder is prepared before any
process uses it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from services.gateway.logging.spool import take_over

NAME = "worker-"
# What a new worker needs for a start without Redis and MLflow.
COPIED = ("models", "routes", "clock.json")


def folder(directory: Path, number: int) -> Path:
    """Return a worker's folder. Workers count from 1."""
    return directory if number == 1 else directory / f"{NAME}{number}"


def prepare(directory: Path, workers: int) -> None:
    """Prepare the folders of this number of workers.

    A run with more workers may have left spools. The present workers deliver them.
    """
    for left in sorted(directory.glob(f"{NAME}[0-9]*")):
        number = int(left.name.removeprefix(NAME))
        if number > workers:
            heir = folder(directory, 1 + (number - 1) % workers)
            take_over(left / "spool", heir / "spool")
            shutil.rmtree(left)
    for number in range(2, workers + 1):
        if not folder(directory, number).exists():
            _copy(directory, folder(directory, number))


def _copy(source: Path, target: Path) -> None:
    incoming = target.with_name(f".incoming-{target.name}")
    shutil.rmtree(incoming, ignore_errors=True)  # from a start ended by a kill
    incoming.mkdir(parents=True)
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, incoming / name)
        elif (source / name).exists():
            shutil.copyfile(source / name, incoming / name)
    incoming.replace(target)
