"""Where a home keeps its running state: `run/` (status, lock, environment) and `logs/`."""

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


def home_markers(home: Path) -> tuple[Path, Path]:
    """Files that only a stack or a world writes.

    They identify a home. DOJO_HOME may point anywhere, and `logs` or `run` are usual names.
    """
    return environment_file(home), home / "world.json"


def is_home(home: Path) -> bool:
    """Whether a directory is a home of the stack, or is empty and may become one."""
    return (
        any(marker.is_file() for marker in home_markers(home)) or next(home.iterdir(), None) is None
    )
