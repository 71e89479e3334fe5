"""A drift from its cause to the response.

A world's live days go through the event log into the real monitor and responder.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric, start_http_server

from dojo.core.events.log import PAYLOAD_FIELD, RedisEventLog, stream_key
from dojo.core.events.streams import decode
from dojo.core.events.types import Check, Stream, Verdict
from dojo.core.lake import Lake, start_of
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.settings import load_settings
from dojo.core.severity import Severity
from dojo.core.state.inbox import Message
from dojo.core.state.work_orders import Kind as OrderKind
from dojo.core.state.work_orders import WorkOrder
from services.monitor.__main__ import build
from services.monitor.counting.state import Store
from services.monitor.judging.verdicts import TROUBLE
from services.monitor.metrics import MonitorMetrics
from services.responder.announcements import RESPONDER
from tests.support.bulk_monitor import DAY, HOUR, NO_REGISTRY, lake_rows, write_freshness
from tests.support.drift_world import Live
from tests.support.registries import sealed_registry
from tests.support.responding import Surroundings

ENDS = {"hour": HOUR, "day": DAY, "now": HOUR}

# Long, because no other monitor runs here and a busy machine may be slow between two rounds.
LEASE = timedelta(minutes=10)


class Exposed:
    """/metrics of the present monitor."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.registry = CollectorRegistry()
        self._server: Any = None

    def collect(self) -> Iterator[Metric]:
        yield from self.registry.collect()

    def up(self) -> None:
        self._server, _ = start_http_server(self.port, "127.0.0.1", registry=self)

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class Story:
    """One world's live days, lived hour by hour.

    Each hour brings events, labels and freshness notes. Then the monitor, the responder and the
    trainer act. The test gives the trainer's answers.

    Attributes:
        answers: The trainer's answer to a work order, by its kind. An order of another kind stays
            open.
        orders: Every order that was placed, in order.
    """

    def __init__(
        self, live: Live, redis_url: str, directory: Path, exposed: Exposed, since: datetime
    ) -> None:
        """Set up from a midnight, `since`. No monitor watched the time before it."""
        self.live = replace(live, version="2")  # it has had the traffic for long (Surroundings)
        spec, model = live.world.spec, live.world.spec.name
        registry = sealed_registry(NO_REGISTRY, timeout_seconds=1, retries=0)
        self.responder = Surroundings(redis_url, registry, model=model)
        self.responder.spec = spec
        self.responder.service = self.responder.start()
        self.answers: dict[OrderKind, Mapping[str, Any]] = {}
        self.orders: list[WorkOrder] = []
        self.now = since
        self._clock, self._redis = self.responder.clock, self.responder.redis
        self._clock.advance(self.now - self._clock.now())
        settings = load_settings(home=directory, redis_url=redis_url, mlflow_url=NO_REGISTRY)
        self._lake = Lake(settings.lake_dir)
        self._log = RedisEventLog(self._redis, settings.stream_max_length)
        metrics = MonitorMetrics(_fresh(exposed))
        # As if a monitor had met the version before, so that its profile needs no registry.
        store = Store(self._redis, "registry")
        store.acquire()
        store.remember_profile(
            (model, "2"), ReferenceProfile.read(live.world.profile_file).require_monitoring()
        )
        store.release()
        self.monitor = build(settings, {model: spec}, metrics, LEASE, self._clock)

    def until(self, moment: datetime) -> None:
        """Live until a full hour, and through the waiting time for late events."""
        while self.now < moment:
            end = self.now + HOUR
            self._log.append(
                [*self.live.predictions(self.now, end), *self.live.outcomes(self.now, end)]
            )
            if end == start_of(end.date()):
                predictions, outcomes = lake_rows(self.live, end - DAY, end)
                self._lake.write(Stream.PREDICTIONS, predictions, "day")
                self._lake.write(Stream.OUTCOMES, outcomes, "day")
            write_freshness(self._redis, end, self.live.stopped)
            self._clock.advance(end + self.live.world.spec.drift.lateness - self._clock.now())
            self.now = end
            # Freshness is checked once a second of wall time. Here it is once an hour of world
            # time.
            self.monitor._look_at = 0.0
            self.look()

    def look(self) -> None:
        """Do a round of each service."""
        self.monitor.round(threading.Event())
        assert self.monitor.known is not None
        self.responder.rounds(2)
        for work in self.responder.orders.open(self.responder.model):
            if work.order not in self.orders:
                self.orders.append(work.order)
            if (answer := self.answers.get(work.order.kind)) is not None:
                self.responder.answer(work.order.kind, **answer)
                self.responder.rounds(2)

    @property
    def verdicts(self) -> list[Verdict]:
        """The event log's verdicts, oldest first."""
        rows = self._redis.xrange(stream_key(Stream.VERDICTS))
        events = [decode(Stream.VERDICTS, fields[PAYLOAD_FIELD]) for _, fields in rows]
        return [event for event in events if isinstance(event, Verdict)]

    def hours_until(
        self, since: datetime, check: Check, *severities: Severity, window: str = ""
    ) -> float | None:
        """Return world hours until a check's first verdict with one of `severities`.

        None for never.

        Without severities, any trouble counts.
        """
        wanted = set(severities) or TROUBLE
        ends = [
            verdict.window_start + ENDS[verdict.window]
            for verdict in self.verdicts
            if verdict.check == check
            and verdict.severity in wanted
            and window in ("", verdict.window)
        ]
        return (min(ends) - since) / HOUR if ends else None

    def troubled(self) -> set[Check]:
        """Return the checks with any trouble."""
        return {verdict.check for verdict in self.verdicts if verdict.severity in TROUBLE}

    def ordered(self) -> list[OrderKind]:
        """Return the orders that act on the model, in order. Drift reports do not act."""
        return [order.kind for order in self.orders if order.kind != "drift_report"]

    def messages(self) -> list[Message]:
        """Return the responder's messages to people, oldest first."""
        return [message for message in self.responder.messages() if message.source == RESPONDER]


def _fresh(exposed: Exposed) -> CollectorRegistry:
    exposed.registry = CollectorRegistry()
    return exposed.registry
