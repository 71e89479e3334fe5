"""Asking Airflow for a retraining, and waiting for its end: the one place where retraining meets Airflow's API."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from dojo.settings import Settings
from pipelines.airflow_client import AirflowClient, RunState

POLL_SECONDS = 1.0  # wall time; a task takes at least as long to start

Progress = Callable[[str, float], None]  # as in steps.py, which brings all of training with it

# The tasks whose answers make a retraining's.
ANSWERING = ("compare", "register", "start_rollout")


class RetrainingFailedError(RuntimeError):
    """Airflow's run failed; the message names the task and where to look."""


def airflow_client(settings: Settings) -> AirflowClient | None:
    """A client of the stack's Airflow, None when it runs without."""
    from dojo.airflow_access import airflow_access

    access = airflow_access(settings)
    return AirflowClient(access) if access else None


def dag_id(model: str) -> str:
    return f"retrain_{model}"


def ask(client: AirflowClient, model: str, asked: Mapping[str, Any], run_id: str | None = None) -> RunState:
    """Start a run of the model's DAG.

    Args:
        asked: as_of (ISO 8601, or None for the world's now), reason, who, dry_run.

    Raises:
        AirflowUnavailableError, AirflowError; RunExistsError for a `run_id` that was asked for before.
    """
    return client.trigger(dag_id(model), asked, run_id, note=str(asked["reason"]))


def wait(client: AirflowClient, run: RunState, progress: Progress) -> dict[str, Any]:
    """Wait for the end of a run. Returns what `pipeline.run_retraining` returns, with the run's `run` and `url`.

    Raises:
        RetrainingFailedError: the run failed. AirflowError: Airflow refused or went away.
    """
    told: set[str] = set()
    while True:
        current = client.run(run.dag_id, run.run_id)
        tasks = client.tasks(run.dag_id, run.run_id)
        for task in tasks:
            if task.state == "running" and task.task_id not in told:
                told.add(task.task_id)
                progress(task.task_id, 0.0)
        if current.finished:
            break
        time.sleep(POLL_SECONDS)
    if current.state != "success":
        failed = ", ".join(task.task_id for task in tasks if task.state == "failed") or "a task"
        raise RetrainingFailedError(f"{run.dag_id}: {failed} failed; its log: {run.url}")
    answer: dict[str, Any] = {"model": run.dag_id.removeprefix("retrain_"), "run": run.run_id, "url": run.url}
    for task in tasks:
        if task.task_id in ANSWERING and task.state == "success":
            answer |= client.answer_of(run.dag_id, run.run_id, task.task_id) or {}
    return {**answer, "seconds": {task.task_id: round(task.seconds, 2) for task in tasks if task.seconds is not None}}
