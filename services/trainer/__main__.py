"""`python -m services.trainer`: reads its settings (DOJO_*) and retrains every model on its schedule, and when
somebody orders it, until SIGTERM."""

from __future__ import annotations

import sys

from dojo.core.connections import connect_redis
from dojo.core.service import stop_on_signal
from dojo.core.settings import SettingsError, load_settings
from dojo.core.spec.load import SpecError, load_specs
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.dag_failures import DagFailures
from dojo.core.state.work_orders import WorkOrders
from dojo.core.telemetry import HealthServer, configure_logging
from pipelines.training.schedule import ScheduleStore
from services.trainer.airflow import airflow_client
from services.trainer.loop import InAirflow, InChild, TrainerStatus, run
from services.trainer.metrics import TrainerMetrics
from services.trainer.order_executor import Executor


def main() -> int:
    try:
        settings = load_settings()
        specs = load_specs(settings.models_dir)
    except (SettingsError, SpecError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging("trainer", settings.log_level)
    stop = stop_on_signal()
    redis, status = connect_redis(settings.redis), TrainerStatus()
    clock, schedule = RedisWorldClock(redis), ScheduleStore(redis)
    # Scrapes come on another thread, with a client and a clock of their own.
    scraped = connect_redis(settings.redis)
    TrainerMetrics(specs, RedisWorldClock(scraped), ScheduleStore(scraped), DagFailures(scraped))
    client = airflow_client(settings)
    with HealthServer(settings.host, settings.trainer_port, status.health):
        launch = InAirflow(client) if client else InChild()
        executor = Executor(WorkOrders(redis), specs, clock.now, settings.home, client)
        run(specs, clock, schedule, launch, executor, status, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
