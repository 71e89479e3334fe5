"""**Score a world day at once.** One generated DAG per model whose spec has a `batch` section.

It calls the function of `dojo score batch`. Scores go to the lake (`batch_scores`), and each
entity's newest one to the online store.

**When it runs.** Once a *world* night, `batch.after` after midnight. The trainer process looks at
the world's clock and asks Airflow's API. While a run is active, it asks for no second one. A missed
night is left out. On demand, use `dojo score batch MODEL`, the Trigger button here, or the REST
API.

**Parameters.** `day` is the world day. Empty is the latest finished one. `reason` is shown with
the run.

**When it fails.** A day without requests, an unfinished day, and a model without champion fail at
once. So does a bundle that is not as it was registered. A problem of Redis, MLflow or the disk
is tried again. The owner is paged, and online answers go on. Clear the task to run it again. It
goes on where it stopped, and writes nothing twice.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task

from dojo.core.settings import load_settings
from dojo.core.spec.schema import ModelSpec
from feature_repo.specs import load
from pipelines.dags.failure_notes import failure_note
from pipelines.dags.run_identity import WrongParameterError, world_day
from pipelines.dags.wiring import REASON, TASK_POLICY, leaves_a_note, log_steps, page_owner

DAY = Param(
    None,
    type=["null", "string"],
    format="date",
    title="World day",
    description="The day to score. Empty: the latest finished one.",
)


def scoring_dag(spec: ModelSpec) -> DAG:
    """Return the DAG `score_<model>`."""

    # Ten million rows take a minute, and the features of a day as long.
    @task(task_id="score", execution_timeout=timedelta(minutes=20))
    def score() -> dict[str, Any]:
        from dojo.core.registry.bundle import CorruptBundleError
        from dojo.core.registry.errors import UnknownVersionError
        from dojo.core.state.clock import ClockNotSetError
        from pipelines.batch_scoring.once import score_day
        from pipelines.training.errors import RefusedError

        context, settings = get_current_context(), load_settings()
        given = {**context["params"], **(context["dag_run"].conf or {})}
        with leaves_a_note(
            failure_note(settings.home, context["dag"].dag_id, context["run_id"]),
            "score",
            (
                RefusedError,
                CorruptBundleError,
                UnknownVersionError,
                ClockNotSetError,
                WrongParameterError,
            ),
        ):
            day = world_day(given["day"]) if given.get("day") else None
            run = score_day(settings, spec.name, day, None, log_steps)
        return {
            "day": run.day.isoformat(),
            "version": run.version,
            "rows": run.rows,
            "online": run.online,
        }

    with DAG(
        dag_id=f"score_{spec.name}",
        description=f"Score a world day's requests of {spec.name} at once",
        doc_md=__doc__,
        schedule=None,  # Airflow does not know world time, see docs/adr/0010-world-time-schedule.md
        catchup=False,
        max_active_runs=1,  # two would do the same work twice
        dagrun_timeout=timedelta(hours=1),
        default_args={**TASK_POLICY, "owner": spec.owner},
        params={"day": DAY, "reason": REASON},
        tags=["batch", spec.name, spec.owner],
        on_failure_callback=partial(
            page_owner, spec.name, spec.owner, "the day has no batch scores"
        ),
    ) as dag:
        score()
    return dag


# A model with a wrong spec has its say in `retrain_<model>`.
for _spec in load(load_settings()).specs.values():
    if _spec.batch is not None:
        scoring_dag(_spec)
