"""Copies of a stopped stack's home, to go back to: its world, models, features and records.

    <home>-snapshots/<name>/

A copy is whole or not there. It is made and brought back under another name, and then renamed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dojo.stack.control import running
from dojo.stack.paths import home_markers

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
PARTIAL = ".partial"


class SnapshotError(RuntimeError):
    """A snapshot cannot be made, found or brought back. The message says why."""


@dataclass(frozen=True, slots=True)
class HomeCopy:
    """One copy.

    Attributes:
        made: Wall time.
        bytes: Size of its files.
    """

    name: str
    made: datetime
    bytes: int


def directory(home: Path) -> Path:
    """Return the folder of a home's snapshots. It lies beside the home, so a purge leaves it."""
    resolved = home.resolve()
    return resolved.with_name(f"{resolved.name}-snapshots")


def snapshots(home: Path) -> list[HomeCopy]:
    """Return all snapshots, the oldest first."""
    found = [
        HomeCopy(
            path.name,
            datetime.fromtimestamp(path.stat().st_mtime, tz=UTC),
            sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir()),
        )
        for path in directory(home).glob("*")
        if NAME.fullmatch(path.name)
    ]
    return sorted(found, key=lambda one: one.made)


def save(home: Path, name: str) -> HomeCopy:
    """Copy the home.

    Raises:
        SnapshotError: The stack runs, the home is empty, or the name is taken or not a name.
    """
    _require_stopped(home)
    if not NAME.fullmatch(name):
        raise SnapshotError(f"{name!r} is no name: small letters, digits and -, 40 at most")
    if not any(marker.is_file() for marker in home_markers(home)):
        raise SnapshotError(f"{home} has no world yet")
    target = directory(home) / name
    if target.exists():
        raise SnapshotError(f"there is a snapshot {name} already")
    with _copied(home, target) as copy:
        copy.rename(target)
        target.touch()
    return next(one for one in snapshots(home) if one.name == name)


def load(home: Path, name: str) -> None:
    """Bring a snapshot back. The home as it is now is deleted.

    Raises:
        SnapshotError: The stack runs, or there is no such snapshot.
    """
    _require_stopped(home)
    source = _existing(home, name)
    resolved = home.resolve()
    with _copied(source, resolved) as copy:
        shutil.rmtree(resolved, ignore_errors=True)
        copy.rename(resolved)


def remove(home: Path, name: str) -> None:
    """Delete a snapshot. Raises SnapshotError if there is none of this name."""
    shutil.rmtree(_existing(home, name))


def _existing(home: Path, name: str) -> Path:
    known = [one.name for one in snapshots(home)]
    if name not in known:
        raise SnapshotError(f"no snapshot {name!r}: there are {', '.join(known) or 'none'}")
    return directory(home) / name


def _require_stopped(home: Path) -> None:
    if running(home) is not None:
        raise SnapshotError("the stack runs, and its files change")


@contextmanager
def _copied(source: Path, target: Path) -> Iterator[Path]:
    """Copy a folder to a name beside the target. What was not renamed at the end is deleted."""
    partial = target.with_name(f"{target.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, partial, symlinks=True)
        yield partial
    except OSError as error:
        raise SnapshotError(f"not copied: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
