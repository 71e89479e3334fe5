"""A whole retraining in one process.

It runs the tasks of `tasks.py` in order, with the branches and retries of the Airflow DAG.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import stamina
from redis.exceptions import RedisError

from dojo.core.connections import connect_redis
from dojo.core.judging.gate.decision import FOLLOWS
from dojo.core.settings import Settings
from dojo.core.spec.read import SpecError
from dojo.core.tasks.specs import load_spec
from pipelines import tasks
from pipelines.release.notices import RetrainingNotices
from pipelines.training.job import Job
from pipelines.training.steps import Progress, Run, silent
from pipelines.training.workspaces import begin, exclusive

Task = Callable[[Job, Settings, Progress], dict[str, Any]]

BEFORE_THE_GATE = ("collect", "validate", "build_dataset", "train", "evaluate", "compare")

WITHOUT_A_GATE = (*BEFORE_THE_GATE[:-1], "register")

# Repetitions of a step after a fault that may pass. Collection has three (D1), the others two, as
# in Airflow.
RETRIES = {"collect": 3}
OTHER_RETRIES = 2
FIRST_WAIT_SECONDS = 1.0  # then twice as long each time


def run_retraining(
    job: Job,
    settings: Settings,
    progress: Progress = silent,
    after_train: Callable[[Run], object] | None = None,
) -> dict[str, Any]:
    """Run a retraining without a scheduler.

    A job without a gate skips `compare` and registers its version. A job that has run before ends
    with the same result. If a task raises, the owner is paged, and the error reaches the caller.

    Args:
        job: The retraining.
        settings: The platform's settings.
        progress: Called with a step and its done share.
        after_train: Called between train and evaluate. Drills spoil the model there.

    Returns:
        The answers of the tasks that ran: with a gate, what `compare` returns. Also `version`,
        `alias`, `rollout` and `stage` of the tasks after it. `seconds` has the wall time by task.

    Raises:
        RetrainingRunningError: Another retraining of this model runs.
    """
    seconds: dict[str, float] = {}
    answer: dict[str, Any] = {"model": job.model, "job": job.key, "as_of": job.as_of.isoformat()}
    step = ""
    with exclusive(job.model, settings.home):
        begin(job, settings.home)
        try:
            for step in BEFORE_THE_GATE if job.gate else WITHOUT_A_GATE:
                answer |= _with_retries(step, job, settings, progress, seconds)
                if step == "train" and after_train is not None:
                    after_train(tasks.run_of(job, settings))
            for step in FOLLOWS[answer["outcome"]] if job.gate and not job.dry_run else ():
                answer |= _with_retries(step, job, settings, progress, seconds)
        except Exception as error:
            _page_owner(job, settings, step, error)
            raise
    return {**answer, "dry_run": job.dry_run, "seconds": seconds}


def _with_retries(
    step: str, job: Job, settings: Settings, progress: Progress, seconds: dict[str, float]
) -> dict[str, Any]:
    task: Task = getattr(tasks, step)
    begun = monotonic()
    attempts = 1 + RETRIES.get(step, OTHER_RETRIES)
    for attempt in stamina.retry_context(
        on=tasks.TRANSIENT,
        attempts=attempts,
        timeout=None,
        wait_initial=FIRST_WAIT_SECONDS,
        wait_max=60.0,
    ):
        with attempt:
            answer = task(job, settings, progress)
    seconds[step] = round(monotonic() - begun, 2)
    return answer


def _page_owner(job: Job, settings: Settings, step: str, error: Exception) -> None:
    """Page the model's owner. Without Redis the message is lost; the raised error still tells."""
    records = RetrainingNotices(connect_redis(settings.redis), job)
    with suppress(RedisError, SpecError):
        owner = load_spec(settings.models_dir / f"{job.model}.yaml").owner
        cause = f"{step}: {type(error).__name__}: {error}"
        again = (
            f"dojo {'retrain' if job.gate else 'train'} {job.model} --as-of"
            f" {job.as_of:%Y-%m-%dT%H:%M:%S}"
            f"{f' --smaller {job.smaller}' if job.smaller else ''}"
        )
        text = (
            f"{cause}\nAsked for by {job.who}: {job.reason}\nNext: mend the cause, then run it"
            f" again: {again}"
        )
        records.tell(
            "failed", owner, "page", f"{job.model}: the retraining failed; the champion stays", text
        )
        records.write(
            "failed", "retraining", f"the retraining failed at {step}", after={"cause": cause}
        )
