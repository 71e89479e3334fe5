"""What retrainings leave on disk: a job's data set goes when the job has ended, at the latest when the model's next one begins, and only
the latest jobs keep their small files.

<home>/training/<model>/<key>/     one job; files beside it that begin with `<key>.` belong to it
<home>/training/run-*/             `dojo train`'s, gone by themselves
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

# Hundreds of megabytes a job: the examples, and the features that they were joined from.
LARGE = (DATASET_FILE, "offline", "feast_registry.db", "feast_registry.applied", "scores.parquet")

KEPT_JOBS = 5  # a month of weekly retrainings, a few megabytes each (the bundle, the gate's report)


def require(job: Job, home: Path, file: str, step: str) -> Path:
    """The path of a file that `step` left in the job's workspace. Raises WorkspaceGoneError."""
    path = job.workspace(home) / file
    if not path.exists():
        raise WorkspaceGoneError(
            f"{path}: not there (a job's data is deleted when it has ended, and old jobs are); run the job again from {step} on"
        )
    return path


@contextmanager
def exclusive(model: str, home: Path) -> Iterator[None]:
    """One retraining of a model at a time, among those without a scheduler on this machine; the kernel lets go when its holder dies.

    Airflow's tasks do not hold it (each is a process of its own): there `max_active_runs` keeps to one run, and `dojo retrain
    --in-process` begins nothing while one is active. What remains: a run that Airflow begins while one by hand goes on. They have
    different workspaces, and the rollout refuses whoever comes second.

    Raises:
        RetrainingRunningError: another one runs.
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
    """The job begins: what is large of the model's other jobs goes. They failed, or were refused or left, and may never be looked at again.

    Call it where no other job of the model can be running: under `exclusive`, and in Airflow, where `max_active_runs` is 1, also as
    a run's first task. One that was to be repeated loses nothing by it without Airflow, where repeating begins at collect; a run
    of Airflow's that somebody clears later is refused with the word to clear it from collect on (`require`).
    """
    directory = job.workspace(home).parent
    for other in directory.iterdir() if directory.exists() else ():
        if other.is_dir() and other.name != job.key:
            for name in LARGE:
                _delete(other / name)


def end(job: Job, home: Path) -> None:
    """The job has ended: delete what is large of it, and all of the jobs before the latest KEPT_JOBS."""
    for name in LARGE:
        _delete(job.workspace(home) / name)
    directory = job.workspace(home).parent
    if not directory.exists():
        return
    jobs = sorted((path for path in directory.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)
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
