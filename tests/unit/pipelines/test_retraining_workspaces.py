"""Files that retrainings leave on disk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pipelines.training import workspaces
from pipelines.training.job import Job

SMALL = "job.json"


def left_by(home: Path, key: str, model: str = "m") -> Path:
    """Make the workspace of a job that stopped in the middle."""
    directory = job(key, model).workspace(home)
    (directory / "offline").mkdir(parents=True)
    for name in (SMALL, *(name for name in workspaces.LARGE if name != "offline")):
        (directory / name).touch()
    return directory


def job(key: str, model: str = "m") -> Job:
    return Job(
        model=model, key=key, as_of=datetime(2030, 1, 1, tzinfo=UTC), reason="tests", who="tests"
    )


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_is_large_of_earlier_jobs_goes_when_the_next_one_begins(tmp_path: Path) -> None:
    refused, repeated, others = (
        left_by(tmp_path, "refused"),
        left_by(tmp_path, "repeated"),
        left_by(tmp_path, "refused", "n"),
    )
    workspaces.begin(job("repeated"), tmp_path)
    assert files(refused) == {SMALL}
    assert files(repeated) == files(others) == {SMALL, *workspaces.LARGE}


def test_a_models_first_job_begins_with_nothing(tmp_path: Path) -> None:
    workspaces.begin(job("first"), tmp_path)


def test_only_the_latest_jobs_keep_their_small_files(tmp_path: Path) -> None:
    for number in range(workspaces.KEPT_JOBS + 2):
        left_by(tmp_path, f"job-{number}")
        (tmp_path / "training" / "m" / f"job-{number}.job.json").touch()
    workspaces.end(job("job-0"), tmp_path)
    kept = files(tmp_path / "training" / "m")
    assert "job-0" in kept  # it has only just ended
    assert len({name.split(".")[0] for name in kept}) <= workspaces.KEPT_JOBS + 1
    assert files(tmp_path / "training" / "m" / "job-0") == {SMALL}
