"""One retraining as its tasks hand it on: a few words that name it. Everything large stays in its workspace, on disk."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What every task of a retraining needs to know.

    Attributes:
        key: names it for good (Airflow's run, or the model and `as_of`): a task that is run again under the same key finds
            what it left and ends in the same version.
        as_of: world time at which the version is trained.
        reason: why it is done, for the audit trail; `who` asked.
        dry_run: everything up to the gate's verdict; nothing is registered, nobody is rolled out.
    """

    model: str
    key: str
    as_of: datetime
    reason: str
    who: str
    dry_run: bool = False

    def workspace(self, home: Path) -> Path:
        """Its directory under the platform's home (made by the first task)."""
        return home / "training" / self.model / self.key
