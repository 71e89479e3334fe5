"""Files that retrainings leave on disk, and when they are deleted.

A job's data set is deleted when the job has ended, or when the model's next job begins. Only the
latest jobs keep their small files.

    <home>/training/<model>/<key>/     one job; files `<key>.*` beside it belong to it
    <home>/training/run-*/             runs that delete their own directory
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.training.dataset.build import DATASET_FILE
from pipelines.training.errors import RetrainingRunningError, WorkspaceGoneError
from pipelines.training.job import Job

# Hundreds of megabytes per job: the examples, and the features joined to them.
LARGE = (DATASET_FILE, "offline", "feast_registry.db", "feast_registry.applied", "scores.parquet")

KEPT_JOBS = 5  # a month of weekly retrainings, a few megabytes each (the bundle, the gate's report)


def require(job: Job, home: Path, file: str, step: str) -> Path:
    """Return the path of a file that `step` left in the workspace. Raises WorkspaceGoneError."""
    path = job.workspace(home) / file
    if not path.exists():
        raise WorkspaceGoneError(
            f"{path}: not there (a job's data is deleted when it has ended, and old jobs are); run"
            f" the job again from {step} on"
        )
    return path


@contextmanager
def exclusive(model: str, home: Path) -> Iterator[None]:
    """Hold the lock of a model's retrainings that run without a scheduler on this machine.

    One such retraining of a model runs at a time. The kernel releases the lock when its holder
    dies. Airflow's tasks do not hold it, because each is a separate process. There
    `max_active_runs` keeps to one run, and `dojo retrain --in-process` begins nothing while a run
    is active. One case remains: Airflow may begin a run during a retraining by hand. Their
    workspaces differ, and the rollout refuses the second one.

    Raises:
        RetrainingRunningError: Another retraining runs.
    """
    file = home / "training" / model / "running.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetrainingRunningError(
                f"{model}: another retraining is running; wait for its end (dojo gate show {model})"
            ) from None
        yield


def begin(job: Job, home: Path) -> None:
    """Begin the job: delete the large files of the model's other jobs.

    Those jobs failed, were refused or were left, and may never be needed again. The caller must
    make sure that no other job of the model runs. `exclusive` does so, and in Airflow
    `max_active_runs` of 1 does, also for a run's first task. Without Airflow, a job to be repeated
    loses nothing, because it repeats from collect. In Airflow, `require` refuses an old run that a
    person clears later, and names the step to run again from.
    """
    directory = job.workspace(home).parent
    for other in directory.iterdir() if directory.exists() else ():
        if other.is_dir() and other.name != job.key:
            for name in LARGE:
                _delete(other / name)


def end(job: Job, home: Path) -> None:
    """End the job: delete its large files, and all files of jobs before the latest KEPT_JOBS."""
    for name in LARGE:
        _delete(job.workspace(home) / name)
    directory = job.workspace(home).parent
    if not directory.exists():
        return
    jobs = sorted(
        (path for path in directory.iterdir() if path.is_dir()),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    for old in [path for path in jobs[KEPT_JOBS:] if path.name != job.key]:
        for file in directory.glob(f"{old.name}.*"):
            if file.is_file():
                file.unlink(missing_ok=True)
        _delete(old)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
