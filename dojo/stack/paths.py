"""Where a home keeps what concerns its running: `run/` (status, lock, environment) and `logs/`."""

from __future__ import annotations

from pathlib import Path


def status_file(home: Path) -> Path:
    return home / "run" / "status.json"


def lock_file(home: Path) -> Path:
    return home / "run" / "supervisor.lock"


def environment_file(home: Path) -> Path:
    return home / "run" / "environment.json"


def log_directory(home: Path) -> Path:
    return home / "logs"


def log_file(home: Path, name: str) -> Path:
    return log_directory(home) / f"{name}.log"
