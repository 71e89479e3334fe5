"""One retraining as its tasks hand it on: a few words that name it. Everything large stays in its workspace, on disk."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

# Wall time after which Airflow fails a run (the DAG's `dagrun_timeout`): all tasks' own limits and their retries; beyond it something hangs.
RUN_TIMEOUT = timedelta(minutes=45)

# The key names a directory, and is asked for in MLflow's query language.
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def key_by_hand(as_of: datetime, spec: bytes, champion: str | None, *kinds: str) -> str:
    """The key of a job that somebody asks for without a scheduler: everything that decides how it ends.

    Asked for again after a kill it is the same job, and goes on; after the spec or the champion was changed it is another one, and is
    decided anew.

    Args:
        spec: the spec's file. champion: its version, None without one. kinds: what else makes it different, such as `dry-run`.
    """
    return "-".join(
        (f"{as_of:%Y-%m-%dT%H%M%S}", f"spec.{hashlib.sha256(spec).hexdigest()[:8]}", f"champion.{champion or 'none'}", *kinds)
    )


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What every task of a retraining needs to know.

    Attributes:
        key: names it for good (Airflow's run, or `key_by_hand`): a task that is run again under the same key finds
            what it left and ends in the same version. Letters, digits, `.`, `_`, `-`.
        as_of: world time at which the version is trained.
        reason: why it is done, for the audit trail; `who` asked.
        dry_run: everything up to the gate's verdict; nothing is registered, nobody is rolled out.
        gate: False for a training that is compared with nothing: its version waits as challenger.

    Raises:
        ValueError: the key holds something else, or as_of has no time zone.
    """

    model: str
    key: str
    as_of: datetime
    reason: str
    who: str
    dry_run: bool = False
    gate: bool = True

    def __post_init__(self) -> None:
        if not KEY.fullmatch(self.key):
            raise ValueError(f"key: expected letters, digits, '.', '_' and '-' (at most 200), got {self.key!r}")
        if self.as_of.tzinfo is None:
            raise ValueError(f"as_of: expected a time with its zone, got {self.as_of.isoformat()}")

    @property
    def occasion(self) -> str:
        """Its name among all models' jobs: begins the ids of its audit entries and messages."""
        return f"{self.model}:{self.key}"

    def workspace(self, home: Path) -> Path:
        """Its directory under the platform's home (made by the first task)."""
        return home / "training" / self.model / self.key
