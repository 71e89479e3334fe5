"""What a failed Airflow task leaves in its own words, on disk: the callback that tells people knows only that something failed, and
`dojo retrain` would have to read it out of a log.

<home>/training/<model>/<key>.failure.txt     of a retraining
<home>/materialisations/<key>.failure.txt     of a materialisation
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST = 180  # characters; a key may have 200


def job_key(run_id: str) -> str:
    """The run's id as a job's key. What a key cannot hold is replaced, and a hash keeps such ids apart."""
    safe = NOT_IN_KEYS.sub("-", run_id).lstrip("._-")[:LONGEST]
    return safe if safe == run_id else f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}".lstrip("-")


def of_retraining(home: Path, model: str, run_id: str) -> Path:
    return home / "training" / model / f"{job_key(run_id)}.failure.txt"


def of_materialisation(home: Path, run_id: str) -> Path:
    return home / "materialisations" / f"{job_key(run_id)}.failure.txt"
