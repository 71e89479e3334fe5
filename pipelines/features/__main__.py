"""`python -m pipelines.features`: reads its settings (DOJO_*) and keeps the world's features fresh until SIGTERM."""

from __future__ import annotations

import sys
from datetime import datetime

from dojo.clock import RedisWorldClock
from dojo.connections import connect_redis
from dojo.events import Stream
from dojo.lake import Lake
from dojo.processes import stop_on_signal
from dojo.settings import SettingsError, load_settings
from dojo.specs import SpecError, load_specs
from dojo.telemetry import HealthServer, configure_logging
from feature_repo.store import open_store
from pipelines.features.materialize import Materialization, materialize
from pipelines.features.metrics import Metrics
from pipelines.features.resident import Status, run
from pipelines.features.skew_watch import SkewWatch


def main() -> int:
    try:
        settings = load_settings()
        specs = load_specs(settings.models_dir)
    except (SettingsError, SpecError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging("materializer", settings.log_level)
    stop = stop_on_signal()
    redis = connect_redis(settings.redis)
    lake, metrics, status = Lake(settings.lake_dir), Metrics(), Status()
    with HealthServer(settings.host, settings.materializer_port, status.health):
        store = open_store(settings.offline_dir, settings.online_store, settings.home / "feast" / "materializer.db")

        def bring_online(now: datetime) -> Materialization:
            return materialize(lake, store, settings.offline_dir, redis, now)

        def recorded() -> datetime | None:
            return lake.newest(Stream.TRANSACTIONS)

        skew = SkewWatch(lake, redis, specs, metrics)
        run(RedisWorldClock(redis), redis, recorded, bring_online, skew.look, metrics, status, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
