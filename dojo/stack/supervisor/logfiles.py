"""The processes' log files, `<home>/logs/<name>.log`.

The process appends to its file. The supervisor bounds the size.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Each process has two files of this size: a day of INFO lines at demo speed. The whole stack stays
# under 400 MB.
ROTATE_AT_BYTES = 20 * 1024 * 1024


def rotate(log: Path, at_bytes: int = ROTATE_AT_BYTES) -> bool:
    """Move a log that has grown beyond `at_bytes` to `<name>.log.1`, replacing the one there.

    It copies and truncates, because a running process keeps writing to its open file. The process
    opened it in append mode, so it continues at the new end. Lines written in the milliseconds
    between the two steps are lost.
    """
    try:
        if log.stat().st_size < at_bytes:
            return False
    except FileNotFoundError:
        return False
    shutil.copyfile(log, log.with_suffix(".log.1"))
    os.truncate(log, 0)
    return True


def last_lines(log: Path, count: int) -> list[str]:
    """The last `count` lines, reading no more of the file's end than that takes."""
    try:
        with log.open("rb") as file:
            position = file.seek(0, os.SEEK_END)
            chunk = b""
            while position > 0 and chunk.count(b"\n") <= count:
                step = min(position, 65_536)
                position = file.seek(position - step)
                chunk = file.read(step) + chunk
                file.seek(position)
    except FileNotFoundError:
        return []
    return chunk.decode(errors="replace").splitlines()[-count:] if count > 0 else []
