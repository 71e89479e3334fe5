"""The materializer as a service: brings a day's features online once its midnight is published."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

import structlog
from redis import Redis
from redis.exceptions import RedisError

from dojo.core.lake import midnight
from dojo.core.service import ANY_ERROR, REDIS, Service
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from dojo.shop.world_drift import DriftTable
from feature_repo.catalog import VIEWS
from feature_repo.freshness import read_freshness
from feature_repo.views import PUBLISH_DELAY
from pipelines.features.materialize import (
    EmptyLakeError,
    Materialization,
    latest_midnight,
    materialized_as_of,
    was_emptied,
)
from services.materializer.metrics import MaterializerMetrics

log = structlog.get_logger()

POLL_SECONDS = 0.5  # wall time, 20 world minutes at demo speed, against hours of publishing delay

# The part of a round that deletes, and the wall seconds until a failed deletion is tried again. It
# is in no hurry, and features do not wait.
RETENTION, RETENTION_PAUSE = "retention", 300.0


def publishable(now: datetime, recorded: datetime) -> datetime:
    """The world time to materialise as of.

    It is now. While the lake is behind, it is the publishing time of the last midnight at which the
    lake is whole. A midnight published from an incomplete lake would stay wrong for a day. The
    reason is that the online store does not replace a row by a row of the same time.

    Args:
        recorded: World time up to which the lake holds the world.
    """
    return now if recorded >= latest_midnight(now) else midnight(recorded) + PUBLISH_DELAY


def is_due(materialized: datetime | None, now: datetime, as_of: datetime) -> bool:
    """Whether a run as of `as_of` has a midnight to publish.

    Args:
        materialized: World time of the last run. None is due at once. So is a time later than
            `now`, which was in another world.
    """
    return (
        materialized is None
        or materialized > now
        or latest_midnight(materialized) < latest_midnight(as_of)
    )


def stopped_since(redis: Redis, now: datetime) -> datetime | None:
    """World time since which materialisation is stopped on purpose, None when it is not.

    The drift kind stale_features stops it.
    """
    drifts = DriftTable(redis).active()
    return next(
        (
            drift.started
            for drift in drifts
            if drift.kind == "stale_features" and drift.intensity(now) > 0
        ),
        None,
    )


class MaterializerService(Service):
    """Materialises whenever it is due.

    Args:
        redis: Keeps freshness, drift, and what is materialised.
        online: The online store's Redis.
        recorded: Gives the world time up to which the lake holds the world's events. None when it
            lacks them.
        materialize: Brings features online as of a world time.
        measure_skew: Called with the world time at every look, after due features are online. It
            never raises.
        retain: Called with the world time at every look. It deletes data that is kept too long.
        not_deleted: Why it deletes nothing. Empty when it does.
    """

    causes = (REDIS, ANY_ERROR)
    backoff = (1.0, 2.0, 5.0, 10.0)  # a run computes days of features before it can fail
    stuck_after = math.inf  # the first run takes as long as history is

    def __init__(
        self,
        clock: RedisWorldClock,
        redis: Redis,
        online: Redis,
        recorded: Callable[[], datetime | None],
        materialize: Callable[[datetime], Materialization],
        measure_skew: Callable[[datetime], None],
        retain: Callable[[datetime], None],
        metrics: MaterializerMetrics,
        not_deleted: str = "",
    ) -> None:
        super().__init__()
        self._clock, self._redis, self._online, self._recorded = clock, redis, online, recorded
        self._materialize, self._measure_skew, self._retain = materialize, measure_skew, retain
        self._metrics, self._not_deleted = metrics, not_deleted
        self._runs = 0
        self._last: Materialization | None = None

    def round(self, stop: threading.Event) -> float:
        try:
            self.say(self._look())
        except (ClockNotSetError, EmptyLakeError) as error:
            self.say(f"waiting: {error}")
        return POLL_SECONDS

    def failed(self, cause: str, part: str) -> None:
        (self._metrics.retention_failures if part == RETENTION else self._metrics.errors).inc()

    def details(self) -> Mapping[str, object]:
        last = {"as_of": self._last.as_of, "seconds": self._last.seconds} if self._last else {}
        held = {RETENTION: self._not_deleted} if self._not_deleted else {}
        return {"runs": self._runs, **last, **held}

    def _look(self) -> str:
        """Materialise if it is due. Returns what it waits for next."""
        if not self._clock.is_set():
            raise ClockNotSetError
        now, until = self._clock.now(), self._recorded()
        if until is None:
            return "waiting: the lake has no events yet"
        as_of = publishable(now, until)
        stopped = stopped_since(self._redis, now)
        if stopped is None and (
            self._finds_the_store_empty()
            or any(is_due(materialized_as_of(self._redis, view), now, as_of) for view in VIEWS)
        ):
            self._run(as_of)
        self._measure_skew(as_of)
        if self.due(RETENTION):
            with self.part(RETENTION, RETENTION_PAUSE):
                self._retain(now)
        for view in read_freshness(self._redis, self._clock.now()):
            if view.age is not None:
                self._metrics.age.labels(view.view).set(view.age.total_seconds())
        if stopped is not None:
            return (
                f"paused by caused drift since {stopped:%Y-%m-%d %H:%M} (dojo world drift stop"
                " stale_features --why ...)"
            )
        if as_of != now:
            return f"waiting for the lake, which holds the world up to {until:%Y-%m-%d %H:%M}"
        return "waiting for the next midnight to be published"

    def _finds_the_store_empty(self) -> bool:
        """Return whether the online store was emptied, and tell of it.

        A store that is away is not empty. A run that is due fails then, and tells.
        """
        with suppress(RedisError):
            if was_emptied(self._redis, self._online):
                self._metrics.losses.inc()
                log.error("the online store was emptied: it gets all rows again")
                return True
        return False

    def _run(self, as_of: datetime) -> None:
        self.say("materializing")
        self._last = done = self._materialize(as_of)
        self._runs += 1
        self._metrics.runs.inc()
        self._metrics.seconds.observe(done.seconds)
        log.info(
            "features materialized",
            as_of=as_of.isoformat(),
            days=done.days_built,
            seconds=done.seconds,
        )
