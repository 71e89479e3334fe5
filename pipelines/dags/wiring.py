"""Common parts of all DAGs: the task policy, a task's one function, and messages about failures.

Heavy imports (Polars, LightGBM, MLflow) happen inside the tasks, because the DAG processor parses
these files again and again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

from dojo.core.settings import Settings, load_settings
from pipelines.dags.failure_notes import failure_note, job_key
from pipelines.dags.run_identity import WrongParameterError, pinned_job
from pipelines.training.job import Job

log = logging.getLogger(__name__)

# Defaults of every task. A task with another value gives its reason.
TASK_POLICY: Mapping[str, Any] = {
    "retries": 2,  # for a killed worker or a restarting MLflow, which is over by the second retry
    "retry_delay": timedelta(seconds=5),  # wall time, longer than a restart of Redis
    "retry_exponential_backoff": 2.0,  # 5 s, 10 s, 20 s, each up to twice as long (Airflow spreads)
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(minutes=5),  # ten times a step's time on 90 days of public data
}

AS_OF = Param(
    None,
    type=["null", "string"],
    format="date-time",
    title="World time",
    description=(
        "What is known then, and nothing later. Empty: the world's now, when the first task starts."
    ),
)
DRY_RUN = Param(
    False,
    type="boolean",
    title="Dry run",
    description="Everything up to the gate's verdict; nothing is registered.",
)
REASON = Param(
    "by hand, in Airflow's UI",
    type="string",
    minLength=3,
    title="Reason",
    description="Why; kept in the audit trail.",
)


FIRST_STEP = "collect"

# Seconds for which the callback tries to tell people. A restarting Redis is back by then. Callbacks
# run in the DAG processor, which ends them after 120 s (airflow.cfg).
TELLING_SECONDS = 90.0


def run_step(model: str, step: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """Call one function of pipelines.tasks with the run's job. Its small answer is the task's XCom.

    A refusal (stale data, too few rows, ...) fails the task at once, because a retry would end the
    same way.
    """
    from dojo.core.state.clock import ClockNotSetError
    from pipelines import tasks
    from pipelines.training.errors import RetrainingRunningError
    from pipelines.training.workspaces import begin, exclusive

    refusals: tuple[type[Exception], ...] = (*tasks.REFUSALS, ClockNotSetError, WrongParameterError)
    settings = load_settings()
    with leaves_a_note(
        failure_note(settings.home, context["dag"].dag_id, context["run_id"]), step, refusals
    ):
        job = job_of_run(model, context, settings)
        if step == FIRST_STEP:
            with (
                suppress(RetrainingRunningError),
                exclusive(model, settings.home),
            ):  # a run by hand may be active, and `begin` would delete its data
                begin(job, settings.home)
        answer: dict[str, Any] = getattr(tasks, step)(job, settings, log_steps)
    return answer


@contextmanager
def leaves_a_note(note: Path, step: str, refusals: tuple[type[Exception], ...]) -> Iterator[None]:
    """Write a failure of the block into `note`, for the people told of it.

    A refusal fails the task at once, without retries.
    """
    note.unlink(missing_ok=True)  # from an earlier try
    try:
        yield
    except refusals as refusal:
        _write(note, f"{step}: {refusal}")
        raise AirflowFailException(str(refusal)) from refusal
    except Exception as error:
        _write(note, f"{step}: {type(error).__name__}: {error}")
        raise


def job_of_run(model: str, context: Mapping[str, Any], settings: Settings) -> Job:
    from dojo.core.connections import connect_redis
    from dojo.core.state.clock import RedisWorldClock

    run = context["dag_run"]
    who = run.triggering_user_name or "schedule"
    clock = RedisWorldClock(connect_redis(settings.redis))
    return pinned_job(
        settings.home, model, run.run_id, {**context["params"], **(run.conf or {})}, who, clock.now
    )


def page_owner(model: str, owner: str, consequence: str, context: Mapping[str, Any]) -> None:
    """Tell the owner once that a run failed for good, and write it into the audit trail.

    Runs in the DAG processor.

    Args:
        model: The model's name, or another name under which the message is filed.
        owner: The owner to tell.
        consequence: The effect on the platform, as part of the title.
        context: Airflow's context of the run.
    """
    import stamina
    from redis.exceptions import RedisError

    from dojo.core.connections import connect_redis
    from dojo.core.state.audit import AuditTrail
    from dojo.core.state.dag_failures import DagFailures
    from dojo.core.state.inbox import Notice, Notifier

    settings = load_settings()
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    note = failure_note(settings.home, dag_id, run_id)
    cause = (
        note.read_text()
        if note.exists()
        else "a task ended without a word (killed, or out of time)"
    )
    occasion = f"{dag_id}:{job_key(run_id)}:failed"
    redis = connect_redis(settings.redis)
    notice = Notice(
        message_id=occasion,
        urgency="page",
        title=f"{dag_id} failed; {consequence}",
        text=(
            f"{cause}\nRun: {run_url(settings, dag_id, run_id)}\nNext: mend the cause, then clear"
            " the failed task there."
        ),
    )
    # The Redis that caused the failure may still be away. A message told twice counts once.
    for attempt in stamina.retry_context(
        on=RedisError, attempts=None, timeout=TELLING_SECONDS, wait_initial=0.5, wait_max=5.0
    ):
        with attempt:
            Notifier(redis, "airflow").tell(owner, model, notice, world_time=None)
            recorded = AuditTrail(redis).append(
                entry_id=occasion,
                kind="retraining",
                model=model,
                who="airflow",
                what=f"{dag_id} failed",
                why=cause,
                after={"run": run_id},
            )
            if recorded is not None:  # recorded by this try, so counted once
                DagFailures(redis).add(dag_id)


def run_url(settings: Settings, dag_id: str, run_id: str) -> str:
    from dojo.core.airflow_access import airflow_access

    access = airflow_access(settings)
    return f"{access.url if access else ''}/dags/{dag_id}/runs/{quote(run_id, safe='')}"


def _write(note: Path, text: str) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(text)


def log_steps(step: str, share: float) -> None:
    if share == 0:
        log.info("%s ...", step)
