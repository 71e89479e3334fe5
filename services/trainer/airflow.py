"""Retrainings in Airflow: start a run and wait for its end. Only this module uses Airflow's API."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dojo.core.settings import Settings
from pipelines.training.job import RUN_TIMEOUT, Job
from services.trainer.airflow_client import (
    AirflowClient,
    AirflowUnavailableError,
    DagPausedError,
    RunState,
    TaskState,
)

T = TypeVar("T")

POLL_SECONDS = 1.0  # wall time; a task takes at least as long to start

Progress = Callable[[str, float], None]  # copied from steps.py, whose import loads all of training

# Tasks whose answers together form a retraining's answer.
ANSWERING = ("compare", "register", "start_rollout")


class RunWaitsError(RuntimeError):
    """A run that Airflow has and does not begin, or does not go on with."""


class RetrainingFailedError(RuntimeError):
    """Airflow's run failed. The message quotes the failed task where its note can be read."""


def airflow_client(settings: Settings) -> AirflowClient | None:
    """Return a client of the stack's Airflow, None without Airflow."""
    from dojo.core.airflow_access import airflow_access

    access = airflow_access(settings)
    return AirflowClient(access) if access else None


def dag_id(model: str) -> str:
    return f"retrain_{model}"


def ask(
    client: AirflowClient, model: str, asked: Mapping[str, Any], run_id: str | None = None
) -> RunState:
    """Start a run of the model's DAG.

    Args:
        asked: as_of (ISO 8601, or None for the world's now), reason, who, dry_run.

    Raises:
        AirflowUnavailableError: Airflow does not answer.
        AirflowError: Airflow refused.
        RunExistsError: This `run_id` was already requested.
        DagPausedError: The model's DAG is paused.
    """
    return client.trigger(dag_id(model), asked, run_id, note=str(asked["reason"]))


def unpause_command(model: str) -> str:
    """What a person types to let a paused DAG go on."""
    return f'dojo orders unpause {model} --why "it may train again"'


def cancel_command(model: str) -> str:
    """What a person types to give up a retraining that waits."""
    return f'dojo orders cancel {model} --why "it waits"'


def parameters(job: Job) -> dict[str, Any]:
    """Return the `conf` of Airflow's run for a job."""
    return {
        "as_of": job.as_of.isoformat(),
        "reason": job.reason,
        "who": job.who,
        "dry_run": job.dry_run,
    }


def active_run(client: AirflowClient, model: str) -> RunState | None:
    """Return the model's unfinished run, if there is one.

    Returns None while Airflow is away too, because tasks cannot end well then.

    Raises:
        AirflowError: Airflow refused to answer.
    """
    try:
        return next((run for run in client.runs(dag_id(model)) if not run.finished), None)
    except AirflowUnavailableError:
        return None


def wait(
    client: AirflowClient,
    run: RunState,
    progress: Progress,
    note: Path,
    patience: timedelta = RUN_TIMEOUT,
) -> dict[str, Any]:
    """Wait for the end of a run. Outages of Airflow's API do not stop the wait.

    The run continues without the API, and after a restart.

    Args:
        note: Path of a failed task's note (failure_notes.py). An Airflow elsewhere may use another.
        patience: Limit for one outage, wall time.

    Returns:
        The answer of `pipeline.run_retraining`, with the run's `run` and `url`.

    Raises:
        RetrainingFailedError: The run failed.
        AirflowUnavailableError: Airflow was away for longer than `patience`.
        AirflowError: Airflow refused to answer.
    """
    told: set[str] = set()
    paused = False
    while True:
        current, tasks = _through_outages(
            lambda: (client.run(run.dag_id, run.run_id), client.tasks(run.dag_id, run.run_id)),
            progress,
            patience,
        )
        for task in tasks:
            if task.state == "running" and task.task_id not in told:
                told.add(task.task_id)
                progress(task.task_id, 0.0)
        if current.finished:
            break
        if current.paused and not paused:
            model = run.dag_id.removeprefix("retrain_")
            words = (
                f"{DagPausedError(run.dag_id)}; in another terminal: {unpause_command(model)}, or"
                f" {cancel_command(model)}"
            )
            progress(words, 0.0)
        paused = current.paused
        time.sleep(POLL_SECONDS)
    require_success(current, tasks, note)
    answer: dict[str, Any] = {
        "model": run.dag_id.removeprefix("retrain_"),
        "run": run.run_id,
        "url": run.url,
    }
    for task in tasks:
        if task.task_id in ANSWERING and task.state == "success":
            question = partial(client.answer_of, run.dag_id, run.run_id, task.task_id)
            answer |= _through_outages(question, progress, patience) or {}
    return {
        **answer,
        "seconds": {
            task.task_id: round(task.seconds, 2) for task in tasks if task.seconds is not None
        },
    }


def look(client: AirflowClient, model: str, run_id: str, note: Path) -> dict[str, Any] | None:
    """Return the state of a run without waiting. None while it runs, then the answer of `wait`.

    Raises:
        RetrainingFailedError: The run failed.
        AirflowUnavailableError: Airflow does not answer. Ask again later.
        AirflowError: Airflow refused to answer.
        DagPausedError: The run goes on when its DAG is unpaused.
        RunWaitsError: The run has not begun.
    """
    current = client.run(dag_id(model), run_id)
    if current.paused:
        raise DagPausedError(current.dag_id)
    if current.waits:
        raise RunWaitsError(f"run {run_id} is queued in Airflow: {current.url}")
    if not current.finished:
        return None
    tasks = client.tasks(current.dag_id, run_id)
    require_success(current, tasks, note)
    answer: dict[str, Any] = {"model": model, "run": run_id, "url": current.url}
    for task in tasks:
        if task.task_id in ANSWERING and task.state == "success":
            answer |= client.answer_of(current.dag_id, run_id, task.task_id) or {}
    return answer


def require_success(run: RunState, tasks: Sequence[TaskState], note: Path) -> None:
    """Check that a run succeeded.

    Raises:
        RetrainingFailedError: It failed. The message names the task and quotes its note, if any.
    """
    if run.state != "success":
        failed = ", ".join(task.task_id for task in tasks if task.state == "failed") or "the run"
        words = note.read_text().strip() if note.exists() else "its log says why"
        raise RetrainingFailedError(f"{run.dag_id}: {failed} failed; {words}")


def _through_outages(question: Callable[[], T], progress: Progress, patience: timedelta) -> T:
    """Repeat a question until there is an answer, and report each outage once.

    Raises:
        AirflowUnavailableError: The outage lasted longer than `patience`.
    """
    since: float | None = None
    while True:
        try:
            return question()
        except AirflowUnavailableError as error:
            now = time.monotonic()
            if since is None:
                since = now
                progress(f"{error}; the run goes on, and will be asked about again", 0.0)
            if now - since >= patience.total_seconds():
                raise
        time.sleep(POLL_SECONDS)
