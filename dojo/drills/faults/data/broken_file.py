"""A copy into the lake that was interrupted: a Parquet file of yesterday without its end.

Every reader of that day fails at it, each time anew.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Literal

from dojo.core.settings import Settings
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown

KEPT_SHARE = 0.6  # of the bytes. A Parquet file's directory stands at its end.


class BrokenFile(Injection):
    kind: Literal["broken_file"] = "broken_file"

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        # Late, because the list of drills needs none of it.
        from dojo.core.connections import connect_redis
        from dojo.core.lake import Lake
        from dojo.core.state.clock import RedisWorldClock
        from dojo.shop.events import TRANSACTIONS

        now = RedisWorldClock(connect_redis(settings.redis)).now()
        yesterday = (now - timedelta(days=1)).date()
        lake = Lake(settings.lake_dir)
        whole = max(
            lake.files(TRANSACTIONS, yesterday, yesterday),
            key=lambda path: path.stat().st_size,
            default=None,
        )
        if whole is None:
            raise FaultRefusedError(f"the lake has no file of {yesterday}")
        target = whole.with_name(_name_beside(whole))
        write_down({"file": str(target)})
        content = whole.read_bytes()
        target.write_bytes(content[: int(len(content) * KEPT_SHARE)])
        beside = whole.stat()
        os.utime(target, (beside.st_atime, beside.st_mtime))

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        Path(receipt["file"]).unlink(missing_ok=True)

    def left(self, settings: Settings, receipt: Receipt) -> str:
        file = Path(receipt["file"])
        return f"the broken file {file}" if file.exists() else ""


def _name_beside(whole: Path) -> str:
    """Return a free name that reads like the recorder's."""
    stem = whole.stem if whole.stem.startswith("part-") else "part-1735689600000-0"
    number = 1
    while whole.with_name(f"{stem}.{number}.parquet").exists():
        number += 1
    return f"{stem}.{number}.parquet"
