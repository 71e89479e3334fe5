"""The materializer's loop: after each world midnight's publishing time, bring the day's features online."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from redis import Redis

from dojo.core.lake import midnight
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from dojo.shop.world_drift import DriftTable
from feature_repo.catalog import PUBLISH_DELAY, VIEWS
from feature_repo.freshness import read_freshness
from pipelines.features.materialize import EmptyLakeError, Materialization, latest_midnight, materialized_as_of
from services.materializer.metrics import MaterializerMetrics

log = structlog.get_logger()

POLL_SECONDS = 0.5  # wall time; 20 world minutes at demo speed, against hours of publishing delay
BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0)  # after a failed run; the last one repeats


class NothingRecordedError(RuntimeError):
    """The world has a time, but the lake has nothing of it yet."""

    def __init__(self) -> None:
        super().__init__("the lake has no transactions yet")


WAITING = "waiting for the next midnight to be published"


@dataclass
class MaterializerStatus:
    """What /healthz tells. A failing run is retried and says so; the process itself is well."""

    state: str = "starting"
    runs: int = 0
    last: Materialization | None = None

    def health(self) -> tuple[bool, Mapping[str, object]]:
        last = {"as_of": self.last.as_of, "seconds": self.last.seconds} if self.last else {}
        return True, {"state": self.state, "runs": self.runs, **last}


def publishable(now: datetime, recorded: datetime) -> datetime:
    """The world time to materialise as of: now, or, while the lake is behind, when the last midnight it is whole at is published.

    A midnight published from an incomplete lake would stay wrong for a day: the online store does not replace a row by one of the same time.

    Args:
        recorded: up to where the lake holds the world.
    """
    return now if recorded >= latest_midnight(now) else midnight(recorded) + PUBLISH_DELAY


def is_due(materialized: datetime | None, now: datetime, as_of: datetime) -> bool:
    """Whether a run as of `as_of` has a midnight to publish.

    Args:
        materialized: world time of the last run; None, or later than `now` (that was in another world), is due at once.
    """
    return materialized is None or materialized > now or latest_midnight(materialized) < latest_midnight(as_of)


def stopped_since(redis: Redis, now: datetime) -> datetime | None:
    """Since which world time materialisation is stopped on purpose (drift kind stale_features); None when it is not."""
    drifts = DriftTable(redis).active()
    return next((drift.started for drift in drifts if drift.kind == "stale_features" and drift.intensity(now) > 0), None)


def run(
    clock: RedisWorldClock,
    redis: Redis,
    recorded: Callable[[], datetime | None],
    materialize: Callable[[datetime], Materialization],
    measure_skew: Callable[[datetime], None],
    metrics: MaterializerMetrics,
    status: MaterializerStatus,
    stop: threading.Event,
) -> None:
    """Materialise whenever it is due until `stop`, through any outage.

    Args:
        recorded: up to which world time the lake holds the world's transactions; None when it is empty.
        materialize: brings features online as of a world time.
        measure_skew: told the world time at every look, once what is due then is online; never raises.
    """
    failures = 0
    while not stop.is_set():
        wait = POLL_SECONDS
        try:
            if not clock.is_set():
                raise ClockNotSetError
            now, until = clock.now(), recorded()
            if until is None:
                raise NothingRecordedError
            as_of = publishable(now, until)
            stopped = stopped_since(redis, now)
            if stopped is None and any(is_due(materialized_as_of(redis, view), now, as_of) for view in VIEWS):
                status.state = "materializing"
                status.last = materialize(as_of)
                status.runs += 1
                metrics.runs.inc()
                metrics.seconds.observe(status.last.seconds)
                log.info(
                    "features materialized", as_of=as_of.isoformat(), days=status.last.days_built, seconds=status.last.seconds
                )
            measure_skew(as_of)
            for view in read_freshness(redis, clock.now()):
                if view.age is not None:
                    metrics.age.labels(view.view).set(view.age.total_seconds())
            lake_is_behind = f"waiting for the lake, which holds the world up to {until:%Y-%m-%d %H:%M}"
            status.state = WAITING if as_of == now else lake_is_behind
            if stopped is not None:
                status.state = f"paused by caused drift since {stopped:%Y-%m-%d %H:%M} (dojo world drift stop stale_features)"
            failures = 0
        except (ClockNotSetError, EmptyLakeError, NothingRecordedError) as error:
            status.state = f"waiting: {error}"
        except Exception as error:  # the outermost loop: log, count, go on
            metrics.errors.inc()
            status.state = f"retrying: {type(error).__name__}: {error}"
            log.warning("materialisation failed, it will be repeated", error=status.state, exc_info=failures == 0)
            wait = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            failures += 1
        stop.wait(wait)
