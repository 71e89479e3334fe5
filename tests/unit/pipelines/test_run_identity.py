"""An Airflow run is one job, in spite of cleared or repeated tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dags.failure_notes import job_key
from pipelines.dags.run_identity import WrongParameterError, pinned_job
from pipelines.training.job import KEY

RUN = "manual__2026-11-21T03:30:45.723458+00:00"
NOON = datetime(2025, 1, 6, 12, tzinfo=UTC)
# Characters that Airflow allows in a run's id: [scheduler] allowed_run_id_pattern.
RUN_IDS = st.text("abcXYZ019_.~:+-", min_size=1, max_size=250)


@given(RUN_IDS)
def test_every_run_id_is_a_valid_key(run_id: str) -> None:
    assert KEY.fullmatch(job_key(run_id))


@given(RUN_IDS, RUN_IDS)
def test_two_runs_never_share_a_key(one: str, other: str) -> None:
    assert (job_key(one) == job_key(other)) == (one == other)


def test_a_retry_keeps_the_time_that_the_first_task_saw(tmp_path: Path) -> None:
    first = pinned_job(tmp_path, "m", RUN, {"reason": "drift"}, "ada", lambda: NOON)
    later = pinned_job(
        tmp_path, "m", RUN, {"reason": "other"}, "bob", lambda: NOON.replace(hour=18)
    )
    assert later == first
    assert (first.as_of, first.reason, first.who, first.dry_run) == (NOON, "drift", "ada", False)


def test_a_time_that_was_asked_for_comes_before_the_worlds(tmp_path: Path) -> None:
    asked = {"as_of": "2025-01-01T03:00:00+03:00", "dry_run": True, "who": "responder"}
    job = pinned_job(tmp_path, "m", RUN, asked, "admin", lambda: NOON)
    assert (job.as_of, job.dry_run, job.who) == (
        datetime(2025, 1, 1, tzinfo=UTC),
        True,
        "responder",
    )


def test_a_wrong_time_is_named_and_pins_nothing(tmp_path: Path) -> None:
    with pytest.raises(WrongParameterError, match=r"as_of: expected a time such as .*, got 'soon'"):
        pinned_job(tmp_path, "m", RUN, {"as_of": "soon"}, "ada", lambda: NOON)
    assert pinned_job(tmp_path, "m", RUN, {}, "ada", lambda: NOON).as_of == NOON
