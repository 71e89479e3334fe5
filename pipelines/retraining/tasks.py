"""The tasks of a retraining, as a scheduler runs them: one function per step, each in a process of its own if it likes.

    collect -> validate -> build_dataset -> train -> evaluate -> compare --promote---> register -> start_rollout
                                                                 |------first-----> register            (it becomes champion)
                                                                 |------keep------> keep_champion
                                                                 \\-----regression-> alert_regression

Each takes the job, and what it hands on is small: paths, ids, a verdict. Everything large stays in the job's workspace. Each may be
killed at any point and run again under the same `job.key`: the job ends in one MLflow run, at most one version, and the same roles.

What a task raises says whether repeating helps: `REFUSALS` end the same until somebody mends something, everything else may pass.
A dry run ends after `compare`.
"""

from __future__ import annotations

from typing import Any

from dojo.bundle import CorruptBundleError
from dojo.settings import Settings
from dojo.specs import SpecError
from pipelines.retraining.errors import RefusedError
from pipelines.retraining.job import Job
from pipelines.retraining.steps import Progress, silent

# Repeating the task as things are ends the same way: a scheduler fails the job at once and tells somebody.
REFUSALS: tuple[type[Exception], ...] = (RefusedError, CorruptBundleError, SpecError)


def collect(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Pin the data. -> workspace, start, end (ISO instants of the examples).

    Raises:
        StaleDataError, TooFewRowsError: refusals. OSError and the like: the lake could not be read; repeat it.
    """
    raise NotImplementedError


def validate(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Refuse bad data. -> rows, frauds."""
    raise NotImplementedError


def build_dataset(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Examples with features, point in time. -> dataset (path), rows."""
    raise NotImplementedError


def train(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Fit, convert, prove parity. -> trees, model_sha256."""
    raise NotImplementedError


def evaluate(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Judge the challenger on its holdout and log its MLflow run. -> run_id, pr_auc."""
    raise NotImplementedError


def compare(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """The gate. -> outcome (promote | keep | regression | first), verdict, gain, run_id, reason."""
    raise NotImplementedError


def register(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Register the challenger; a model's first version becomes champion. -> version, alias."""
    raise NotImplementedError


def start_rollout(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Begin the registered version's rollout. -> version, rollout, stage."""
    raise NotImplementedError


def keep_champion(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Record and tell the owner that the challenger did not win. -> champion, verdict."""
    raise NotImplementedError


def alert_regression(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Page the owner: the challenger is worse. -> champion, verdict."""
    raise NotImplementedError
