"""**Bring features online by hand: repair and backfill.** The same function as
`dojo features materialize`, run on demand.

**When to use it.** After an outage of the materializer, or after a repair of the lake. Also to
bring features online as of another world time. It is not the routine, because the resident
materializer publishes every world midnight. At demo speed a world day passes in 36 s. Starting an
Airflow task alone takes seconds (docs/adr/0006 and 0010). Running it beside the materializer is
safe. The second of the two finds nothing to do.

**Parameters.** `as_of` is a world time. Empty is the world's now. `reason` is shown with the run.

**When it fails.** An empty lake fails at once. Build the world's history first. A problem of Redis
or of the disk is tried again. The platform's team is paged. Clear the task to run it again. It
writes nothing twice.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from airflow.sdk import DAG, get_current_context, task

from dojo.core.settings import load_settings
from pipelines.dags.failure_notes import failure_note
from pipelines.dags.run_identity import WrongParameterError, instant
from pipelines.dags.wiring import AS_OF, REASON, TASK_POLICY, leaves_a_note, log_steps, page_owner

OWNER = "ml-platform"  # models share features, so the platform's team keeps them

with DAG(
    dag_id="materialize_features",
    description="Compute what the offline store lacks and bring the latest values online",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,  # two would compute the same days
    dagrun_timeout=timedelta(hours=1),
    default_args={**TASK_POLICY, "owner": OWNER},
    params={"as_of": AS_OF, "reason": REASON},
    tags=["features", OWNER],
    on_failure_callback=partial(page_owner, "features", OWNER, "features stay as they were"),
):
    # Building the store from nothing computes every day of the lake. A hundred days take minutes.
    @task(execution_timeout=timedelta(minutes=20))
    def materialize() -> dict[str, Any]:
        from dojo.core.state.clock import ClockNotSetError
        from pipelines.features.materialize import EmptyLakeError
        from pipelines.features.once import materialize_once

        context, settings = get_current_context(), load_settings()
        as_of = context["params"]["as_of"]
        with leaves_a_note(
            failure_note(settings.home, context["dag"].dag_id, context["run_id"]),
            "materialize",
            (EmptyLakeError, ClockNotSetError, WrongParameterError),
        ):
            done = materialize_once(
                settings, instant(as_of) if as_of else None, "airflow", log_steps
            )
        return {
            "as_of": done.as_of.isoformat(),
            "days": done.days_built,
            "rows": done.rows_built,
            "seconds": done.seconds,
        }

    materialize()
