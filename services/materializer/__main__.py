"""`python -m services.materializer`: reads its settings (DOJO_*) and keeps the world's features fresh until SIGTERM."""

from __future__ import annotations

import sys
from datetime import datetime

from dojo.core.connections import connect_redis
from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.service import stop_on_signal
from dojo.core.settings import SettingsError, load_settings
from dojo.core.spec.load import SpecError, load_specs
from dojo.core.state.clock import RedisWorldClock
from dojo.core.telemetry import HealthServer, configure_logging
from feature_repo.store import open_store
from pipelines.features.materialize import Materialization, materialize
from services.materializer.loop import MaterializerStatus, run
from services.materializer.metrics import MaterializerMetrics
from services.materializer.skew_watch import SkewWatch


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
    lake, metrics, status = Lake(settings.lake_dir), MaterializerMetrics(), MaterializerStatus()
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
