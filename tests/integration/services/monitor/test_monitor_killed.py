"""A monitor killed 20 times under load has the same windows as an offline recount."""

from __future__ import annotations

import logging
import random
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from dojo.core.events.log import stream_key
from dojo.core.events.types import Outcome, Prediction
from services.monitor.counting.consumer import STREAMS
from services.monitor.counting.state import LEASE_KEY
from tests.integration.services.monitor.monitoring import (
    ForkedMonitor,
    Monitoring,
    recount,
    windows_of,
)
from tests.support.monitor_events import MODEL, START, Shop, profile
from tests.support.servers import RedisServer, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

KILLS = 20
EVENTS_PER_SECOND = 1_500
REPEATED = 0.1  # share of appends that repeat an event, as retrying producers do
LATE = 0.2  # share of events that come up to six hours late


class Producer(threading.Thread):
    """Appends predictions and outcomes at a steady rate until told to stop, and remembers them."""

    def __init__(self, monitoring: Monitoring, rng: random.Random) -> None:
        super().__init__(name="producer", daemon=True)
        self.predictions: list[Prediction] = []
        self.outcomes: list[Outcome] = []
        self.repeated = 0
        self._monitoring = monitoring
        self._rng = rng
        self._finish = threading.Event()

    def run(self) -> None:
        shops, now, period = [Shop(seed=1, version="1"), Shop(seed=2, version="2")], START, 0.05
        while not self._finish.wait(period):
            now += timedelta(minutes=7)
            batch: list[Prediction] = []
            for shop, share in zip(shops, (0.8, 0.2), strict=True):
                back = (
                    timedelta(hours=self._rng.choice((1, 3, 6)))
                    if self._rng.random() < LATE
                    else timedelta(0)
                )
                batch += shop.predictions(
                    now - back, int(EVENTS_PER_SECOND * period * share), timedelta(minutes=7)
                )
            self._rng.shuffle(batch)  # a gateway's workers write in no order
            labels = shops[0].outcomes(batch[:20], delay=timedelta(hours=3))
            again = self._rng.choices(
                self.predictions[-3000:] or batch, k=int(len(batch) * REPEATED)
            )
            self.predictions += batch
            self.outcomes += labels
            self.repeated += len(again)
            self._monitoring.log.append([*batch, *again, *labels, *labels[:3]])

    def finish(self) -> None:
        self._finish.set()
        self.join(10)


def pending(monitoring: Monitoring) -> int:
    """Return the number of messages that were read and not acknowledged."""
    groups = [
        g
        for s in STREAMS
        if monitoring.client.exists(stream_key(s))
        for g in monitoring.client.xinfo_groups(stream_key(s))
    ]
    return sum(group["pending"] for group in groups)


def at_work(monitoring: Monitoring) -> ForkedMonitor:
    """Start a new monitor that holds the lease."""
    monitoring.client.delete(LEASE_KEY)  # a killed monitor's lease would last five seconds more
    monitor = monitoring.monitor()
    wait_until(
        lambda: monitoring.client.exists(LEASE_KEY) == 1,
        60,
        f"a monitor is at work (see {monitor.log})",
        every=0.002,
    )
    return monitor


def test_killed_20_times_under_load_windows_equal_an_offline_recount(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    rng = random.Random(20250106)
    monitoring, reference = Monitoring(redis_server, tmp_path), profile()
    for version in ("1", "2"):
        monitoring.knows(reference, version)
    producer = Producer(monitoring, rng)
    monitor = None
    interrupted = 0
    started = time.monotonic()
    try:
        producer.start()
        for number in range(KILLS):
            monitor = at_work(monitoring)
            if number % 2:
                time.sleep(rng.uniform(0, 0.25))  # at any point of its work
            else:
                wait_until(
                    lambda: pending(monitoring) > 0,
                    30,
                    "the monitor has read and not acknowledged",
                    every=0.0005,
                )
            monitor.kill()
            interrupted += pending(monitoring) > 0
        producer.finish()
        monitor = at_work(monitoring)
        monitoring.wait_until_counted()
    finally:
        producer.finish()
        if monitor is not None:
            monitor.stop()

    known = monitoring.counted()
    counted, expected = windows_of(known, reference), recount(producer.predictions, reference)
    assert counted.keys() == expected.keys()
    wrong = {
        place: (counted[place], expected[place])
        for place in expected
        if counted[place] != expected[place]
    }
    assert not wrong, f"{len(wrong)} of {len(expected)} windows differ"
    labels = sum(window.rows for window in known.label_hours[MODEL].values())
    assert labels == len({outcome.event_id for outcome in producer.outcomes})
    logging.getLogger(__name__).info(
        f"{KILLS} kills in {time.monotonic() - started:.0f} s, {interrupted} between reading and"
        f" acknowledging; {len(producer.predictions)} predictions, {producer.repeated} repeated,"
        f" {len(expected)} windows"
    )
    assert interrupted >= KILLS / 5, "the kills missed the monitor's work, so nothing was proved"
    assert producer.repeated > 0
