"""What the trainer tells Prometheus of its schedule and of Airflow's failures, on a real Redis."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dojo.core.connections import connect_redis
from dojo.core.spec.load import load_specs
from dojo.core.state.clock import ManualClock
from dojo.core.state.dag_failures import DagFailures
from pipelines.training.schedule import ScheduleStore
from services.trainer.metrics import TrainerMetrics
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

MODEL = "fraud_detection"
NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)


def test_age_and_failures_are_read_when_they_are_scraped(redis_server: RedisServer) -> None:
    redis, registry, clock = connect_redis(redis_server.url), CollectorRegistry(), ManualClock(NOON)
    schedule, failures = ScheduleStore(redis), DagFailures(redis)
    specs = load_specs(Path("models"))
    TrainerMetrics(specs, clock, schedule, failures, registry)

    def age() -> float:
        return registry.get_sample_value("dojo_trainer_last_age_seconds", {"model": MODEL}) or 0.0

    def failed(dag: str) -> float | None:
        return registry.get_sample_value("dojo_dag_failed_runs", {"dag": dag})

    planned = registry.get_sample_value("dojo_trainer_schedule_seconds", {"model": MODEL})
    assert planned == specs[MODEL].training.schedule.total_seconds()
    assert math.isnan(age()), "nothing is known: neither overdue nor in time"
    schedule.begin(MODEL, NOON)
    clock.advance(timedelta(days=9))
    assert age() == timedelta(days=9).total_seconds()
    assert failed(f"retrain_{MODEL}") == failed("materialize_features") == 0
    failures.add(f"retrain_{MODEL}")
    failures.add(f"retrain_{MODEL}")
    assert (failed(f"retrain_{MODEL}"), failed("materialize_features")) == (2, 0)
    redis_server.kill()
    assert math.isnan(age())
    assert math.isnan(failed(f"retrain_{MODEL}") or 0.0)
    redis_server.start()
    assert age() == timedelta(days=9).total_seconds(), "it goes on when Redis is back"
