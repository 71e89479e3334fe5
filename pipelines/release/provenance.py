"""The code that made a version.

It is the git commit, any difference from it, and the lock that pins every dependency.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dojo.core.lake import file_sha256

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = "unknown"  # for an installed package without its checkout, rather than a guess

# Images have no checkout. Their build records its source commit (deploy/docker/Dockerfile).
IMAGE_COMMIT = "SOURCE_COMMIT"


@dataclass(frozen=True, slots=True)
class Code:
    """The version of the code.

    Attributes:
        commit: The git commit. It ends in `+dirty` when tracked files differ from it.
        lock_sha256: SHA-256 of uv.lock.
    """

    commit: str
    lock_sha256: str


def current_code(root: Path = ROOT) -> Code:
    """Return the version of the running code."""
    lock = root / "uv.lock"
    lock_sha256 = file_sha256(lock) if lock.exists() else UNKNOWN
    commit = _git(root, "rev-parse", "HEAD")
    if commit == UNKNOWN:
        return Code(os.environ.get(IMAGE_COMMIT) or UNKNOWN, lock_sha256)
    dirty = _git(root, "status", "--porcelain", "--untracked-files=no") not in ("", UNKNOWN)
    return Code(f"{commit}+dirty" if dirty else commit, lock_sha256)


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return done.stdout.strip()
