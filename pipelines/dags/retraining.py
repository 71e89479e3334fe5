"""**Retrain a model and let the better version win.** One generated DAG per model spec.

    collect -> validate -> build_dataset -> train -> evaluate -> compare -> decide
      decide --+--> register -> start_rollout
               +--> keep_champion
               +--> alert_regression

**When it runs.** Every `training.schedule` of *world* time. The trainer process looks at the
world's clock and asks Airflow's API. A paused world asks for nothing. After a pause one run makes
up for all missed ones. On demand, use `dojo retrain MODEL --why ...`, the Trigger button here,
or the REST API. Only one run is active at a time.

**Parameters.** `as_of` is the world time to train at. Empty is the world's now. The first task
settles it, and every retry keeps it. `dry_run` stops after the gate's verdict. `reason` goes into
the audit trail.

**When it fails.** `collect` is tried four times, at least 5, 10 and 20 s apart. Refusals fail at
once, because repeating them changes nothing. Examples are stale data, too few rows and data that
breaks its schema. So are features that broke or know the label, and a registry changed past the
platform.
The owner is paged (`dojo alerts`),
and the champion goes on serving. Read the failed task's log, fix the cause, clear the task. The run
then continues where it stopped, as of the same world time. It still ends in at most one version.
After a later run has begun, clear from `collect` on, because the data is gone. Large data is in
`DOJO_HOME/training/<model>/<run>`. Only a few words go between tasks.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dojo.core.judging.gate.decision import FOLLOWS
from dojo.core.settings import load_settings
from dojo.core.spec.names import owner_of
from dojo.core.spec.schema import ModelSpec
from feature_repo.specs import load
from pipelines.dags.wiring import AS_OF, DRY_RUN, REASON, TASK_POLICY, page_owner, run_step
from pipelines.training.job import RUN_TIMEOUT


def retraining_dag(spec: ModelSpec) -> DAG:
    """Return the DAG `retrain_<model>`."""

    def step(name: str, **policy: Any) -> Any:
        @task(task_id=name, **policy)
        def run() -> dict[str, Any]:
            return run_step(spec.name, name, get_current_context())

        return run()

    @task(task_id="start_rollout")
    def start_rollout(compared: dict[str, Any]) -> dict[str, Any]:
        """Start the rollout, or skip for a first version.

        Airflow's branch skips a task only when no chosen task leads to it. `register` is chosen and
        leads here.
        """
        if "start_rollout" not in FOLLOWS[compared["outcome"]]:
            raise AirflowSkipException(
                "the first version is the champion already: there is nobody to take over from"
            )
        return run_step(spec.name, "start_rollout", get_current_context())

    @task.branch(task_id="decide")
    def decide(compared: dict[str, Any]) -> list[str]:
        """Choose the tasks that follow the gate. A dry run ends here."""
        if get_current_context()["params"]["dry_run"]:
            return []
        if (outcome := compared["outcome"]) not in FOLLOWS:
            raise AirflowFailException(
                f"compare: expected an outcome of {', '.join(FOLLOWS)}, got {outcome!r}"
            )
        return list(FOLLOWS[outcome])

    with DAG(
        dag_id=f"retrain_{spec.name}",
        description=f"Retrain {spec.name}, compare with its champion, roll the better one out",
        doc_md=__doc__,
        schedule=None,  # Airflow does not know world time, see docs/adr/0010-world-time-schedule.md
        catchup=False,
        # Of two challengers, each would be compared with a champion replaced by the other.
        max_active_runs=1,
        dagrun_timeout=RUN_TIMEOUT,
        default_args={**TASK_POLICY, "owner": spec.owner},
        params={"as_of": AS_OF, "dry_run": DRY_RUN, "reason": REASON},
        tags=["retraining", spec.name, spec.owner],
        on_failure_callback=partial(page_owner, spec.name, spec.owner, "the champion stays"),
    ) as dag:
        # Three retries (D1), for a lake being written, or short faults of disk and network.
        collect = step("collect", retries=3)
        # The point-in-time join of 90 days takes a minute on two busy cores. For a shop ten times
        # as large it takes ten.
        build_dataset = step("build_dataset", execution_timeout=timedelta(minutes=15))
        compare = step("compare")
        choice, register = decide(compare), step("register")
        collect >> step("validate") >> build_dataset >> step("train") >> step("evaluate") >> compare
        choice >> [register, step("keep_champion"), step("alert_regression")]
        register >> start_rollout(compare)
    return dag


def left_out_dag(model: str, owner: str, fault: str) -> DAG:
    """Return the DAG `retrain_<model>` of a model with a wrong spec. Each run fails, and says why.

    The DAG keeps its name, so its earlier runs stay in sight. The other models have theirs.
    """

    @task(task_id="wrong_spec")
    def wrong_spec() -> None:
        raise AirflowFailException(fault)

    with DAG(
        dag_id=f"retrain_{model}",
        description=f"{model} is left out: its spec is wrong",
        doc_md=f"**{model} is left out, because its spec is wrong.**\n\n```\n{fault}\n```\n",
        schedule=None,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=RUN_TIMEOUT,
        default_args={**TASK_POLICY, "owner": owner},
        params={"as_of": AS_OF, "dry_run": DRY_RUN, "reason": REASON},
        tags=["retraining", model, owner, "wrong_spec"],
        on_failure_callback=partial(page_owner, model, owner, "the champion stays"),
    ) as dag:
        wrong_spec()
    return dag


_settings = load_settings()
_loaded = load(_settings)
for _spec in _loaded.specs.values():
    retraining_dag(_spec)
for _model, _fault in _loaded.faults.items():
    left_out_dag(_model, owner_of(_settings.models_dir, _model), _fault)
