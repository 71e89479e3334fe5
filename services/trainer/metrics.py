"""The trainer's metrics (Prometheus): ended requests, ages of retrainings, failed DAG runs.

A scrape reads ages and failures from Redis, so they stay true while the trainer is busy or hangs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from itertools import product
from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from redis.exceptions import RedisError

from dojo.core.spec.schema import ModelSpec
from dojo.core.state.clock import ClockNotSetError, WorldClock
from dojo.core.state.dag_failures import DagFailures
from dojo.core.state.work_orders import Ended, Kind
from pipelines.training.schedule import ScheduleStore

OUTCOMES = ("asked", "asked before", "done", "refused", "failed", "stopped", "busy")

# DAGs of no single model, from pipelines/dags/features.py.
SHARED_DAGS = ("materialize_features",)

RUNS = Counter(
    "dojo_trainer_runs_total",
    "Scheduled retrainings that were asked for, by how that ended.",
    ["model", "outcome"],
)
ORDERS = Counter(
    "dojo_trainer_orders_total", "Work orders that ended, by how.", ["model", "task", "outcome"]
)


class TrainerMetrics:
    """The schedule of each model and the failures of Airflow's runs."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        clock: WorldClock,
        store: ScheduleStore,
        failures: DagFailures,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._clock, self._failures = clock, failures
        age = Gauge(
            "dojo_trainer_last_age_seconds",
            "World seconds since the latest retraining was asked for; NaN before the first look,"
            " and while Redis is away.",
            ["model"],
            registry=registry,
        )
        finished = Gauge(
            "dojo_trainer_finished_age_seconds",
            "World seconds since a retraining came to its end; before the first, since the schedule"
            " counts. NaN as above.",
            ["model"],
            registry=registry,
        )
        schedule = Gauge(
            "dojo_trainer_schedule_seconds",
            "The spec's training.schedule, world seconds.",
            ["model"],
            registry=registry,
        )
        failed = Gauge(
            "dojo_dag_failed_runs",
            "Runs of a DAG that failed for good in this world; only rises. NaN while Redis is"
            " away.",
            ["dag"],
            registry=registry,
        )
        for name, spec in specs.items():
            schedule.labels(name).set(spec.training.schedule.total_seconds())
            age.labels(name).set_function(partial(_or_nan, partial(self._age, store.last, name)))
            finished.labels(name).set_function(
                partial(_or_nan, partial(self._age, store.finished, name))
            )
            # Present before the first failure, because increase() would not see that one otherwise.
            for outcome in OUTCOMES:
                RUNS.labels(name, outcome)
            for task, ended in product(get_args(Kind), get_args(Ended)):
                ORDERS.labels(name, task, ended)
        scored = [f"score_{name}" for name, spec in specs.items() if spec.batch is not None]
        for dag in (*SHARED_DAGS, *(f"retrain_{name}" for name in specs), *scored):
            failed.labels(dag).set_function(partial(_or_nan, partial(self._failures.count, dag)))

    def _age(self, moment: Callable[[str], datetime | None], model: str) -> float:
        since = moment(model)
        return math.nan if since is None else max((self._clock.now() - since).total_seconds(), 0.0)


def _or_nan(read: Callable[[], float]) -> float:
    try:
        return read()
    except (RedisError, ClockNotSetError):
        return math.nan
