"""Airflow's view of pipelines/dags, as JSON: `python -m tests.support.dags_inventory`.

It runs in a separate process, because importing Airflow takes over logging.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any

from dojo.stack.airflow_server.home import DAGS_FOLDER


def inventory() -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    began = time.process_time()  # not wall time, which is a busy machine's too
    bag = DagBag(str(DAGS_FOLDER))
    seconds = time.process_time() - began
    return {
        "import_errors": bag.import_errors,
        "seconds": seconds,
        "dags": {dag.dag_id: _dag(dag, DagSerialization.to_dict(dag)) for dag in bag.dags.values()},
    }


def _dag(dag: Any, serialized: dict[str, Any]) -> dict[str, Any]:
    return {
        "owner": dag.owner,
        "tags": sorted(dag.tags),
        "catchup": dag.catchup,
        "schedule": str(dag.schedule) if dag.schedule is not None else None,
        "max_active_runs": dag.max_active_runs,
        "timeout": dag.dagrun_timeout.total_seconds(),
        "doc_md": dag.doc_md,
        "on_failure": bool(dag.on_failure_callback),
        "params": {name: dict(dag.params.get_param(name).schema) for name in dag.params},
        "bytes": len(json.dumps(serialized)),
        "tasks": {task.task_id: _task(task) for task in dag.tasks},
    }


def _task(task: Any) -> dict[str, Any]:
    return {
        "owner": task.owner,
        "retries": task.retries,
        "delay": task.retry_delay.total_seconds(),
        "backoff": task.retry_exponential_backoff,
        "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
        "downstream": sorted(task.downstream_task_ids),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="dojo-dags-") as home:
        os.environ.update(
            AIRFLOW_HOME=home,
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
        )
        sys.stdout.write(json.dumps(inventory()))
