"""The job of an Airflow run. Its first task settles it, and all later tasks and retries keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from pipelines.dags.failure_notes import job_key
from pipelines.training.job import Job


class WrongParameterError(ValueError):
    """A run was started with a parameter without meaning. The message names it."""


def pinned_job(
    home: Path,
    model: str,
    run_id: str,
    params: Mapping[str, Any],
    who: str,
    world_now: Callable[[], datetime],
) -> Job:
    """Return the run's job. The first task writes it down, and later tasks read it.

    Args:
        home: DOJO_HOME.
        model: The model.
        run_id: Airflow's id of the run.
        params: as_of (ISO 8601 or None for the world's now), dry_run, reason, and optionally who.
        who: Who asked, unless `params` names another.
        world_now: Called at most once in the life of a run. So a later retry trains on the same
            data.

    Raises:
        WrongParameterError: as_of is no time.
    """
    key = job_key(run_id)
    pin = home / "training" / model / f"{key}.job.json"
    if pin.exists():
        return msgspec.json.decode(pin.read_bytes(), type=Job)
    as_of = params.get("as_of")
    job = Job(
        model=model,
        key=key,
        as_of=instant(as_of) if as_of else world_now(),
        reason=str(params.get("reason") or "no reason given"),
        who=str(params.get("who") or who),
        dry_run=bool(params.get("dry_run")),
    )
    pin.parent.mkdir(parents=True, exist_ok=True)
    temporary = pin.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(job))
    temporary.replace(pin)
    return job


def instant(text: str) -> datetime:
    """Return the time of an ISO 8601 text. Without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongParameterError(
            f"as_of: expected a time such as 2018-06-24T00:00:00Z, got {text!r}"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def world_day(text: str) -> date:
    """Return the day of an ISO 8601 date.

    Raises:
        WrongParameterError: The text is no date.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise WrongParameterError(
            f"day: expected a date such as 2018-06-24, got {text!r}"
        ) from None
