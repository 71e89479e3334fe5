"""Monitors for tests: real processes on a real Redis, and an offline recount of the same events."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from dojo.core.connections import connect_redis
from dojo.core.events.log import PAYLOAD_FIELD, RedisEventLog, stream_key
from dojo.core.events.streams import decode
from dojo.core.events.types import Event, Prediction, Stream, Verdict
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.settings import load_settings
from dojo.core.state.clock import RedisWorldClock
from dojo.stats.histograms.binning import bin_counts
from services.monitor.__main__ import build, main
from services.monitor.counting.consumer import STREAMS
from services.monitor.counting.state import GROUP, MonitorMemory, Store
from services.monitor.counting.windows import floor
from services.monitor.judging.records import MonitorRecords
from services.monitor.loop import Monitor
from services.monitor.metrics import MonitorMetrics
from tests.integration.fork_server import CONTEXT
from tests.integration.services.recorder.recording import health_at
from tests.support.monitor_events import MODEL, START, Shop, spec
from tests.support.servers import RedisServer, free_port, wait_until

HOUR = timedelta(hours=1)
PER_HOUR = 400  # answers; a window needs 300

# Tests shorten the usual five seconds of a dead monitor's lease.
LEASE = timedelta(milliseconds=300)


class Monitoring:
    """One Redis and any number of monitor processes."""

    def __init__(self, redis: RedisServer, directory: Path) -> None:
        self.redis = redis
        self.directory = directory
        self.client = connect_redis(redis.url, timedelta(seconds=5))
        self.log = RedisEventLog(self.client, max_length=1_000_000)
        self.clock = RedisWorldClock(self.client)
        self.records = MonitorRecords(self.client, 1000)

    def knows(self, profile: ReferenceProfile, version: str = "1") -> None:
        """Remember the version as if a monitor had met it before. Then no registry is needed."""
        store = Store(self.client, "test")
        assert store.acquire() != "other"
        store.remember_profile((MODEL, version), profile)
        store.release()

    def monitor(self) -> ForkedMonitor:
        return ForkedMonitor(self.redis.url, self.directory)

    def lag(self) -> int:
        return sum(self.log.lag(stream, GROUP) for stream in STREAMS)

    def wait_until_counted(self, within: float = 60) -> None:
        wait_until(lambda: self.lag() == 0, within, "everything is counted", every=0.05)

    def counted(self) -> MonitorMemory:
        """Return the counts that are now in Redis."""
        return Store(self.client, "test").load()


def turn(monitor: Monitor) -> bool:
    """Run one round. Return whether this monitor has the lease."""
    monitor.round(threading.Event())
    return monitor.known is not None


class Watch:
    """One monitor in this process, and a world with a test's own time."""

    def __init__(self, redis: RedisServer, directory: Path) -> None:
        self.monitoring = Monitoring(redis, directory)
        self.directory = directory
        self.redis_url = redis.url
        self.shop = Shop()
        self.spec = spec()
        self.metrics = MonitorMetrics(CollectorRegistry())
        self.monitor = self.start()

    def start(self) -> Monitor:
        self.metrics = MonitorMetrics(CollectorRegistry())
        settings = load_settings(
            home=self.directory, redis_url=self.redis_url, mlflow_url="http://127.0.0.1:9"
        )
        return build(settings, {MODEL: self.spec}, self.metrics, LEASE, self.monitoring.clock)

    def restart(self) -> None:
        self.monitor.close()
        self.monitor = self.start()

    def append(self, events: Sequence[Event]) -> None:
        self.monitoring.log.append(events)

    def look(self, at: datetime) -> None:
        """Run one round with world time at `at`."""
        self.monitoring.clock.set(at, 0)
        assert turn(self.monitor)

    def hours(self, first: int, last: int, **how: float) -> None:
        """Live through the hours from first to last - 1 after START. Each is judged at its end."""
        for hour in range(first, last):
            start = START + HOUR * hour
            self.append(self.shop.predictions(start, PER_HOUR, **how))  # type: ignore[arg-type]
            self.look(start + HOUR + timedelta(minutes=45))

    def verdict(self, check: str, window: str = "hour", version: str = "1") -> Verdict:
        return self.monitoring.records.latest(MODEL)[check, window, version]  # type: ignore[index]

    def told(self, check: str) -> list[Verdict]:
        """Return the check's events on the event log."""
        rows = self.monitoring.client.xrange(stream_key(Stream.VERDICTS))
        events = [decode(Stream.VERDICTS, fields[PAYLOAD_FIELD]) for _, fields in rows]
        return [event for event in events if isinstance(event, Verdict) and event.check == check]

    def gauge(self, check: str, window: str = "hour") -> float:
        return self.metrics.severity.labels(MODEL, check, window)._value.get()


class ForkedMonitor:
    """The process of `python -m services.monitor`, forked from a server that did its imports."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        self.port = free_port()
        self.log = directory / f"monitor-{self.port}.log"
        environment = {
            "DOJO_HOME": str(directory),
            "DOJO_REDIS_URL": redis_url,
            "DOJO_MONITOR_PORT": str(self.port),
            "DOJO_MLFLOW_URL": (
                "http://127.0.0.1:9"
            ),  # no server answers there, so known versions must suffice
        }
        self._process = CONTEXT.Process(target=_main, args=(environment, self.log), daemon=True)
        self._process.start()

    def kill(self) -> None:
        """Kill the process (kill -9), and wait until it is gone."""
        self._process.kill()
        self._process.join(10)

    def stop(self) -> int | None:
        """Send SIGTERM. Return the exit code, or None if it still runs after 10 s."""
        self._process.terminate()
        self._process.join(10)
        return self._process.exitcode

    def health(self) -> dict[str, str]:
        return health_at(self.port)


def _main(environment: dict[str, str], log: Path) -> None:
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), sys.stderr.fileno())
    sys.exit(main())


def recount(
    events: Iterable[Prediction], profile: ReferenceProfile
) -> dict[tuple[str, datetime], dict[str, list[int]]]:
    """Count events in plain NumPy, without monitor code.

    Returns (version, hour) -> column -> counts per bin, and "rows". Each event counts once.
    """
    unique = {event.event_id: event for event in events}
    hours: dict[tuple[str, datetime], list[Prediction]] = {}
    for event in unique.values():
        hours.setdefault((event.version, floor(event.world_time, "hour")), []).append(event)
    found = {}
    for place, group in hours.items():
        counts = {"rows": [len(group)], "flagged": [sum(event.flagged for event in group)]}
        for name, column in profile.features.items():
            values = np.array([event.features[name] for event in group], dtype=np.float32).astype(
                np.float64
            )
            counts[name] = bin_counts(values, np.asarray(column.edges)).tolist()
        found[place] = counts
    return found


def windows_of(
    known: MonitorMemory, profile: ReferenceProfile
) -> dict[tuple[str, datetime], dict[str, list[int]]]:
    """Return the monitor's windows in the form of `recount`."""
    found = {}
    for (_, version), hours in known.hours.items():
        for hour, window in hours.items():
            counts = {"rows": [window.rows], "flagged": [window.flagged]}
            for name in profile.features:
                assert window.histogram is not None
                counts[name] = list(window.histogram.column(name).counts)
            found[version, hour] = counts
    return found
