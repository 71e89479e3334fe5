"""The monitor's judging over days of answers.

They are counted in bulk, not one by one from the log.

Windows hold the same counts either way, but a day takes a second instead of ten. The way through
the log is tested in tests/integration/services/monitor/test_monitor.py and test_monitor_killed.py.
Judging, records, verdicts and thresholds are the monitor's own, on a real Redis.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import polars as pl
from prometheus_client import CollectorRegistry

from dojo.core.connections import connect_redis
from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from dojo.core.events.streams import decode
from dojo.core.events.types import Prediction, Stream, Verdict
from dojo.core.lake import Lake, start_of
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.state.audit import AuditTrail
from dojo.core.state.routes import RouteTable
from feature_repo import catalog
from feature_repo.freshness import record_freshness
from feature_repo.views import PUBLISH_DELAY
from services.monitor.counting.closing import close_hours
from services.monitor.counting.profiles import Profiles
from services.monitor.counting.state import MonitorMemory, Store
from services.monitor.counting.windows import CountedWindow, LabelWindow
from services.monitor.judging.records import MonitorRecords
from services.monitor.judging_loop import Judging
from services.monitor.metrics import MonitorMetrics
from services.monitor.serving import ServingVersions
from services.monitor.showing.gauges import Gauges
from services.simulator.events import outcome_history
from tests.support.drift_world import Live, view_ages
from tests.support.registries import sealed_registry

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

# More than the verdicts of a fortnight in which every hour is in trouble.
MANY = 100_000

# The address of a registry that is never asked, because the version's profile is given.
NO_REGISTRY = "http://127.0.0.1:9"


class BulkMonitor:
    """One monitor's memory and judgement, fed with a world's live days.

    Args:
        live: The live days.
        redis_url: A Redis without a monitor.
        directory: Gets a lake.
    """

    def __init__(self, live: Live, redis_url: str, directory: Path) -> None:
        self._live, self._world = live, live.world
        spec = self._world.spec
        self._redis = connect_redis(redis_url, timedelta(seconds=10))
        self._store = Store(self._redis, "bulk", lease=timedelta(hours=1))
        self._store.acquire()
        self._lake = Lake(directory / "lake")
        registry = sealed_registry(NO_REGISTRY, timeout_seconds=1, retries=0)
        views = {view.name: view.freshness_sla for view in catalog.views_of(spec.feature_service)}
        self._judging = Judging(
            specs={spec.name: spec},
            views={spec.name: views},
            redis=self._redis,
            store=self._store,
            records=MonitorRecords(self._redis, MANY),
            lake=self._lake,
            profiles=Profiles(registry),
            serving=ServingVersions(registry, RouteTable(self._redis), AuditTrail(self._redis)),
            gauges=Gauges(MonitorMetrics(CollectorRegistry())),
        )
        self._key = (spec.name, live.version)
        self._known = MonitorMemory()
        self._known.learn(
            self._key, ReferenceProfile.read(self._world.profile_file).require_monitoring()
        )
        self._judging.load()

    def live_through(self, days: int) -> list[Verdict]:
        """Judge `days` days hour by hour. Returns the event log's verdicts, oldest first."""
        spec = self._world.spec
        for offset in range(days):
            day = start_of(self._world.live_from) + DAY * offset
            predictions, outcomes = lake_rows(self._live, day, day + DAY)
            self._lake.write(Stream.PREDICTIONS, predictions, "day")
            self._lake.write(Stream.OUTCOMES, outcomes, "day")
            for hour in range(24):
                self._count(day + HOUR * hour)
                end = day + HOUR * (hour + 1)
                write_freshness(self._redis, end, self._live.stopped)
                now = end + spec.drift.lateness
                self._judging.windows(self._known, now)
                self._judging.performance(self._known, now)
                self._judging.present(self._known, now)
            close_hours(self._store, self._known, day + DAY)
        rows = self._redis.xrange(stream_key(Stream.VERDICTS))
        found = [decode(Stream.VERDICTS, fields[PAYLOAD_FIELD]) for _, fields in rows]
        return [verdict for verdict in found if isinstance(verdict, Verdict)]

    def _count(self, hour: datetime) -> None:
        plan = self._known.plans[self._key]
        rows = self._live.rows.filter(
            pl.col("event_timestamp").is_between(hour, hour + HOUR, closed="left")
        )
        if rows.height:
            window = CountedWindow()
            matrix = np.ascontiguousarray(rows.select(*plan.names).to_numpy(), dtype=np.float32)
            missing = chain.from_iterable(
                repeat(view.name, view_ages(rows, view, self._live.stopped).count(None))
                for view in catalog.views_of(self._world.spec.feature_service)
            )
            window.add(
                matrix, flagged=int(rows["flagged"].sum()), degraded=0, missing=missing, plan=plan
            )
            self._known.hours.setdefault(self._key, {})[hour] = window
        labels = self._live.labels.filter(
            pl.col("arrival").is_between(hour, hour + HOUR, closed="left")
        )
        if labels.height:
            delays = (labels["arrival"] - labels["time"]).dt.total_microseconds().to_numpy() / 1e6
            labels_of_model = self._known.label_hours.setdefault(self._key[0], {})
            labels_of_model.setdefault(hour, LabelWindow()).add(delays)


def write_freshness(redis, now: datetime, stopped: datetime | None) -> None:
    """Write the notes of the streamer and the materializer.

    The streamer is up to date, and the materializer until it is stopped.
    """
    published = start_of((now - PUBLISH_DELAY).date()) + PUBLISH_DELAY
    for name, view in catalog.VIEWS.items():
        fresh = published if stopped is None else min(published, stopped)
        record_freshness(redis, name, fresh if view.kind == "batch" else now)


def lake_rows(live: Live, start: datetime, end: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return answers and labels of a time as the recorder keeps them."""
    names, model = list(live.world.features), live.world.spec.name
    request, time = pl.col("transaction_id"), pl.col("event_timestamp")
    keys = [
        pl.lit('{"customer":"'),
        "customer_id",
        pl.lit('","merchant":"'),
        "merchant_id",
        pl.lit('"}'),
    ]
    rows = live.rows.filter(time.is_between(start, end, closed="left"))
    predictions = rows.select(
        request.map_elements(Prediction.id_for, pl.String).alias("event_id"),
        *(time.alias(name) for name in ("world_time", "wall_time")),
        *(request.alias(name) for name in ("prediction_id", "request_id")),
        *(
            pl.lit(value).alias(name)
            for name, value in {"model": model, "version": live.version, "arm": "champion"}.items()
        ),
        pl.concat_str(keys).alias("entity_keys"),
        pl.lit(pl.Series([names])).first().alias("feature_names"),
        pl.concat_list(pl.col(names).cast(pl.Float64)).alias("features"),
        pl.lit("{}").alias("feature_age_seconds"),
        *("score", "flagged"),
        pl.lit(0.002).alias("latency_seconds"),
        pl.lit(pl.Series([[]], dtype=pl.List(pl.String))).first().alias("degraded"),
        pl.lit(1).alias("route_generation"),
        pl.lit("").alias("trace_id"),
        pl.lit(1.0).alias("propensity"),
        pl.lit("{}").alias("new_categories"),
        pl.lit(None, dtype=pl.Float64).alias("cached_seconds"),
    )
    known = live.labels.filter(pl.col("arrival").is_between(start, end, closed="left"))
    return predictions, outcome_history(known)
