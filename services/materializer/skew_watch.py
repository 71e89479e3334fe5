"""Measures every model's skew once a world day, in the materializer's loop.

It measures when the day's features are in place. It never fails the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from itertools import product

import structlog
from redis import Redis
from redis.exceptions import RedisError

from dojo.core.lake import Lake
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.skew import latest_skew
from pipelines.features.materialize import latest_midnight
from pipelines.features.skew import measure
from services.materializer.metrics import MaterializerMetrics

# Wall time after a failure until the next try. The features themselves come first.
RETRY_SECONDS = 60.0

log = structlog.get_logger()


class SkewWatch:
    """One per materializer. `look` does work only once a day."""

    def __init__(
        self,
        lake: Lake,
        redis: Redis,
        specs: Mapping[str, ModelSpec],
        metrics: MaterializerMetrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lake, self._redis, self._specs, self._metrics, self._monotonic = (
            lake,
            redis,
            specs,
            metrics,
            monotonic,
        )
        self._measured: dict[str, date] = {}
        self._not_before = 0.0
        for name, cause in product(
            specs, ("redis", "unforeseen")
        ):  # there before the first failure
            metrics.skew_failures.labels(name, cause)

    def look(self, as_of: datetime) -> None:
        """Measure the last whole day before the midnight that is published at `as_of`.

        It does nothing when that day was measured before. It never raises.
        """
        day = (latest_midnight(as_of) - timedelta(days=1)).date()
        due = [spec for spec in self._specs.values() if self._measured.get(spec.name) != day]
        if not due or self._monotonic() < self._not_before:
            return
        for spec in due:
            try:
                self._measure(spec, day, as_of)
            except Exception as error:  # the loop's own work must go on
                self._metrics.skew_failures.labels(
                    spec.name, "redis" if isinstance(error, RedisError) else "unforeseen"
                ).inc()
                self._not_before = self._monotonic() + RETRY_SECONDS
                log.warning(
                    "skew was not measured, it will be tried again",
                    model=spec.name,
                    day=str(day),
                    exc_info=True,
                )

    def _measure(self, spec: ModelSpec, day: date, as_of: datetime) -> None:
        latest = latest_skew(self._redis, spec.name)
        before = latest.get()
        if (
            before is None or before.day.date() != day or before.as_of > as_of
        ):  # a time later than now is of another world
            with self._metrics.skew_seconds.time():
                found = measure(
                    self._lake, spec.name, spec.feature_service, day, spec.drift.skew.sample, as_of
                )
            latest.put(found)
            log.info(
                "skew measured",
                model=spec.name,
                day=str(day),
                sampled=found.sampled,
                differing=found.differing,
            )
        self._measured[spec.name] = day
