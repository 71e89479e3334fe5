"""Privacy of everything below the home: only the platform's own user may read it.

This holds for every umask.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

# The rights of all other users. Files get 0600, directories 0700.
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def keep_private() -> None:
    """Let this process, and what it starts, make files that other users cannot read."""
    os.umask(OTHERS)


def close_off(root: Path) -> list[Path]:
    """Take the rights of other users from a directory and everything below it.

    Returns:
        Paths that other users could reach before. Links are not followed below `root`.

    Raises:
        PermissionError: Something belongs to another user.
    """
    narrowed = []
    for path in _below(root):
        with suppress(FileNotFoundError):  # a running stack rotates and renames
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & OTHERS:
                path.chmod(mode & ~OTHERS)
                narrowed.append(path)
    return narrowed


def is_open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & OTHERS)


def kept_text(path: Path, make: Callable[[], str]) -> str:
    """The content of a private file.

    Several processes may make it at once. The first one's content stays.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = _written(path, make(), f".{os.getpid()}")
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Replace a file. No other user can read it, not even for a moment."""
    _written(path, text, ".tmp").replace(path)


def _written(path: Path, text: str, suffix: str) -> Path:
    temporary = path.with_name(path.name + suffix)
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return temporary


def _below(root: Path) -> Iterator[Path]:
    yield root
    for directory, directories, files in os.walk(root):
        paths = (Path(directory, name) for name in (*directories, *files))
        yield from (path for path in paths if not path.is_symlink())
