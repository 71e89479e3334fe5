"""The materializer's loop: after each world midnight's publishing time, bring the day's features online."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from redis import Redis

from dojo.clock import ClockNotSetError, RedisWorldClock
from feature_repo.catalog import VIEWS
from feature_repo.freshness import read_freshness
from pipelines.features.materialize import EmptyLakeError, Materialization, latest_midnight, materialized_as_of
from pipelines.features.metrics import Metrics

log = structlog.get_logger()

POLL_SECONDS = 0.5  # wall time; 20 world minutes at demo speed, against hours of publishing delay
BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0)  # after a failed run; the last one repeats


@dataclass
class Status:
    """What /healthz tells. A failing run is retried and says so; the process itself is well."""

    state: str = "starting"
    runs: int = 0
    last: Materialization | None = None

    def health(self) -> tuple[bool, Mapping[str, object]]:
        last = {"as_of": self.last.as_of, "seconds": self.last.seconds} if self.last else {}
        return True, {"state": self.state, "runs": self.runs, **last}


def is_due(materialized: datetime | None, now: datetime) -> bool:
    """Whether a midnight was published since the last run, or nothing was ever materialised, or that was in another world."""
    return materialized is None or materialized > now or latest_midnight(materialized) < latest_midnight(now)


def run(
    clock: RedisWorldClock,
    redis: Redis,
    materialize: Callable[[datetime], Materialization],
    metrics: Metrics,
    status: Status,
    stop: threading.Event,
) -> None:
    """Materialise whenever it is due until `stop`, through any outage."""
    failures = 0
    while not stop.is_set():
        wait = POLL_SECONDS
        try:
            if not clock.is_set():
                raise ClockNotSetError
            now = clock.now()
            if any(is_due(materialized_as_of(redis, view), now) for view in VIEWS):
                status.state = "materializing"
                status.last = materialize(now)
                status.runs += 1
                metrics.runs.inc()
                metrics.seconds.observe(status.last.seconds)
                log.info(
                    "features materialized", as_of=now.isoformat(), days=status.last.days_built, seconds=status.last.seconds
                )
            for view in read_freshness(redis, clock.now()):
                if view.age is not None:
                    metrics.age.labels(view.view).set(view.age.total_seconds())
            status.state, failures = "waiting for the next midnight to be published", 0
        except (ClockNotSetError, EmptyLakeError) as error:
            status.state = f"waiting: {error}"
        except Exception as error:  # the outermost loop: log, count, go on
            metrics.errors.inc()
            status.state = f"retrying: {type(error).__name__}: {error}"
            log.warning("materialisation failed, it will be repeated", error=status.state, exc_info=failures == 0)
            wait = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            failures += 1
        stop.wait(wait)
