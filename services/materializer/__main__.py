"""`python -m services.materializer`: keeps the world's features fresh until SIGTERM.

It reads its settings (DOJO_*).
"""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial

from dojo.core.connections import connect_redis
from dojo.core.lake import Lake
from dojo.core.registry.versions import ModelRegistry
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from feature_repo.specs import in_use, load
from feature_repo.store import open_store
from pipelines.features.materialize import Materialization, materialize, recorded_until
from pipelines.retention import Retention, champions_of
from services.materializer.loop import MaterializerService
from services.materializer.metrics import MaterializerMetrics
from services.materializer.skew_watch import SkewWatch

# One short try per question, because the next look asks again.
REGISTRY_TIMEOUT_SECONDS = 5


def open_materializer(settings: Settings) -> MaterializerService:
    redis, online = connect_redis(settings.redis), connect_redis(settings.online_store)
    lake, metrics = Lake(settings.lake_dir), MaterializerMetrics()
    loaded = load(settings)
    specs = loaded.specs
    store = open_store(
        settings.offline_dir, settings.online_store, settings.home / "feast" / "materializer.db"
    )

    def bring_online(now: datetime) -> Materialization:
        return materialize(lake, store, settings.offline_dir, redis, online, now)

    registry = ModelRegistry.of(settings, timeout_seconds=REGISTRY_TIMEOUT_SECONDS, retries=0)
    retention = Retention(
        lake, settings.offline_dir, loaded, AuditTrail(redis), lambda: champions_of(registry, specs)
    )
    skew, recorded = SkewWatch(lake, redis, specs, metrics), partial(recorded_until, lake)
    service = MaterializerService(
        RedisWorldClock(redis),
        redis,
        online,
        recorded,
        bring_online,
        skew.look,
        retention.daily,
        metrics,
        retention.held_back,
    )
    return service.using(in_use(settings, loaded))


def main() -> int:
    return serve("materializer", open_materializer)


if __name__ == "__main__":
    sys.exit(main())
