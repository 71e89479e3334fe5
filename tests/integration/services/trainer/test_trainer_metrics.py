"""The trainer's metrics of its schedule and of Airflow's failures, on a real Redis."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dojo.core.connections import connect_redis
from dojo.core.state.clock import ManualClock
from dojo.core.state.dag_failures import DagFailures
from dojo.core.tasks.specs import load_specs
from pipelines.training.schedule import ScheduleStore, scheduled_job
from services.trainer.metrics import TrainerMetrics
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

MODEL = "fraud_detection"
NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)


def test_what_is_asked_for_and_never_runs_grows_old(redis_server: RedisServer) -> None:
    """A paused DAG accepts every request. Only the end of a retraining resets the age."""
    redis, registry, clock = connect_redis(redis_server.url), CollectorRegistry(), ManualClock(NOON)
    schedule = ScheduleStore(redis)
    TrainerMetrics(load_specs(Path("models")), clock, schedule, DagFailures(redis), registry)

    def days(name: str) -> float:
        seconds = registry.get_sample_value(f"dojo_trainer_{name}_age_seconds", {"model": MODEL})
        assert seconds is not None
        return seconds / 86_400

    assert math.isnan(days("finished"))
    schedule.begin(MODEL, NOON)
    for week in (1, 2):
        clock.advance(timedelta(days=7))
        schedule.ask(scheduled_job(MODEL, clock.now(), "7d", "count"), clock.now())
        assert (days("last"), days("finished")) == (0, 7 * week), "asking is not running"
    schedule.began(MODEL, clock.now())
    assert days("finished") == 14, "beginning is not ending"
    schedule.finish(MODEL, clock.now())
    assert days("finished") == 0
    schedule.begin(MODEL, NOON)
    assert days("finished") == 14, "another world counts anew"


def test_a_schedule_that_an_earlier_release_remembered_counts_from_the_next_request(
    redis_server: RedisServer,
) -> None:
    redis = connect_redis(redis_server.url)
    redis.set(f"dojo:retraining:{MODEL}:last", NOON.isoformat())
    schedule = ScheduleStore(redis)
    assert schedule.finished(MODEL) is None
    later = NOON + timedelta(days=7)
    schedule.ask(scheduled_job(MODEL, later, "7d", "count"), later)
    assert schedule.finished(MODEL) == later


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
