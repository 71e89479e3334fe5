"""`python -m services.materializer`: reads its settings (DOJO_*) and keeps the world's features fresh until SIGTERM."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial

from dojo.core.connections import connect_redis
from dojo.core.lake import Lake
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.spec.load import load_specs
from dojo.core.state.clock import RedisWorldClock
from feature_repo.store import open_store
from pipelines.features.materialize import Materialization, materialize, recorded_until
from services.materializer.loop import MaterializerService
from services.materializer.metrics import MaterializerMetrics
from services.materializer.skew_watch import SkewWatch


def open_materializer(settings: Settings) -> MaterializerService:
    redis, lake, metrics = connect_redis(settings.redis), Lake(settings.lake_dir), MaterializerMetrics()
    specs = load_specs(settings.models_dir)
    store = open_store(settings.offline_dir, settings.online_store, settings.home / "feast" / "materializer.db")

    def bring_online(now: datetime) -> Materialization:
        return materialize(lake, store, settings.offline_dir, redis, now)

    skew = SkewWatch(lake, redis, specs, metrics)
    return MaterializerService(RedisWorldClock(redis), redis, partial(recorded_until, lake), bring_online, skew.look, metrics)


def main() -> int:
    return serve("materializer", open_materializer)


if __name__ == "__main__":
    sys.exit(main())
