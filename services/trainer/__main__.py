"""`python -m services.trainer`: retrains on schedule and on order until SIGTERM.

Settings are DOJO_*.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import partial

from dojo.core.connections import connect_redis
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.state.applied_specs import AppliedSpecs
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.dag_failures import DagFailures
from dojo.core.state.loss import held_back
from dojo.core.state.work_orders import WorkOrders
from feature_repo.specs import in_use, load
from pipelines.batch_scoring.nights import NightsAsked
from pipelines.training.schedule import ScheduleStore
from services.trainer.airflow import airflow_client
from services.trainer.batch_nights import BatchNights, NightsInAirflow, nights_in_child
from services.trainer.loop import InAirflow, InChild, TrainerService
from services.trainer.metrics import TrainerMetrics
from services.trainer.order_executor import Executor


def open_trainer(settings: Settings) -> TrainerService:
    loaded, redis = load(settings), connect_redis(settings.redis)
    specs = loaded.specs
    # Scrapes run on another thread, so they need their own client and clock.
    scraped = connect_redis(settings.redis)
    TrainerMetrics(specs, RedisWorldClock(scraped), ScheduleStore(scraped), DagFailures(scraped))
    clock, client = RedisWorldClock(redis), airflow_client(settings)
    deadline = timedelta(seconds=settings.order_deadline_seconds)
    executor = Executor(
        WorkOrders(redis), loaded, clock.now, settings.home, client, deadline=deadline
    )
    launch = InAirflow(client) if client else InChild()
    schedule, applied = ScheduleStore(redis), AppliedSpecs(redis)
    nights = BatchNights(
        specs,
        clock.now,
        NightsAsked(redis),
        NightsInAirflow(client, schedule) if client else nights_in_child,
    )
    service = TrainerService(
        specs, clock, schedule, launch, executor, applied, partial(held_back, redis), nights
    )
    return service.using(in_use(settings, loaded))


def main() -> int:
    return serve("trainer", open_trainer)


if __name__ == "__main__":
    sys.exit(main())
