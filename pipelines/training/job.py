"""One retraining, as its tasks hand it on.

A job is a few words. Everything large stays in its workspace on disk.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

# Wall time after which Airflow fails a run (the DAG's `dagrun_timeout`). It covers the limits and
# retries of all tasks. A longer run hangs.
RUN_TIMEOUT = timedelta(minutes=45)

# How a smaller version of the champion is made (smaller.py).
SmallerKind = Literal["pruned", "distilled"]

# The key names a directory and stands in queries to MLflow.
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def key_by_hand(as_of: datetime, spec: bytes, champion: str | None, *kinds: str) -> str:
    """Return the key of a job that a person asks for without a scheduler.

    The key holds everything that decides the job's result. After a kill, the same request gives
    the same job, and the job goes on. After a change of the spec or the champion it gives another
    job with a new decision.

    Args:
        as_of: World time at which the version is trained.
        spec: Content of the spec's file.
        champion: The champion's version. None without a champion.
        kinds: What else makes the job different, such as `dry-run`.
    """
    return "-".join(
        (
            f"{as_of:%Y-%m-%dT%H%M%S}",
            f"spec.{hashlib.sha256(spec).hexdigest()[:8]}",
            f"champion.{champion or 'none'}",
            *kinds,
        )
    )


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What every task of a retraining needs to know.

    Attributes:
        model: The model's name.
        key: The job's permanent name, from Airflow's run or `key_by_hand`. Letters, digits, `.`,
            `_` and `-`. A task that runs again under the same key finds its earlier files and ends
            in the same version.
        as_of: World time at which the version is trained.
        reason: Why it is done, for the audit trail.
        who: Who asked.
        dry_run: Stop after the gate's verdict. Nothing is registered or rolled out.
        gate: False for a training without a comparison. Its version waits as challenger.
        smaller: How a smaller version of the champion is made. None for a version of its own.

    Raises:
        ValueError: The key has other characters, or as_of has no time zone.
    """

    model: str
    key: str
    as_of: datetime
    reason: str
    who: str
    dry_run: bool = False
    gate: bool = True
    smaller: SmallerKind | None = None

    def __post_init__(self) -> None:
        if not KEY.fullmatch(self.key):
            raise ValueError(
                f"key: expected letters, digits, '.', '_' and '-' (at most 200), got {self.key!r}"
            )
        if self.as_of.tzinfo is None:
            raise ValueError(f"as_of: expected a time with its zone, got {self.as_of.isoformat()}")

    @property
    def occasion(self) -> str:
        """Name of the job among all models' jobs. Its audit entries and messages begin with it."""
        return f"{self.model}:{self.key}"

    def workspace(self, home: Path) -> Path:
        """Return the job's directory under the platform's home. The first task makes it."""
        return home / "training" / self.model / self.key
