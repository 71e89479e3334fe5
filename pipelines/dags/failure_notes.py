"""A failed Airflow task's own words, on disk.

The callback that tells people knows only that something failed. Without this note, `dojo retrain`
would have to read the reason out of a log.

    <home>/failures/<DAG>/<job's key>.txt

The note is from the run's latest failed try. It is gone when the task is tried again.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST = 180  # characters, because a key may have 200


def job_key(run_id: str) -> str:
    """Return the run's id as a job's key.

    Characters that a key cannot hold are replaced. A hash then keeps such ids apart.
    """
    safe = NOT_IN_KEYS.sub("-", run_id).lstrip("._-")[:LONGEST]
    return (
        safe
        if safe == run_id
        else f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}".lstrip("-")
    )


def failure_note(home: Path, dag_id: str, run_id: str) -> Path:
    return home / "failures" / dag_id / f"{job_key(run_id)}.txt"
