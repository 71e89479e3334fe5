"""A recorder killed 50 times under load: every event is in the lake exactly once."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

from dojo.core.events.streams import EVENT_TYPES
from dojo.core.events.types import Event
from services.recorder.ownership import LOCK_FILE
from tests.integration.services.recorder.recording import (
    ForkedRecorder,
    Recording,
    synthetic_events,
)
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

KILLS = 50
EVENTS_PER_SECOND = 1_000
DUPLICATES = 0.1  # share of appends that repeat an event id, as retrying producers do

# Recorders alive at any time. One records, the other waits for its lock and takes over at once.
POOL = 2


class Producer(threading.Thread):
    """Appends events at a steady rate until told to stop, and remembers their ids."""

    def __init__(self, recording: Recording, rng: random.Random) -> None:
        super().__init__(name="producer", daemon=True)
        self.expected: dict[str, set[str]] = defaultdict(set)
        self.duplicates = 0
        self._recording = recording
        self._rng = rng
        self._finish = threading.Event()

    def run(self) -> None:
        events = synthetic_events(self._rng)
        recent: list[Event] = []
        period = 0.03
        while not self._finish.wait(period):
            batch = [next(events) for _ in range(int(EVENTS_PER_SECOND * period))]
            for event in batch:
                self.expected[event.stream].add(event.event_id)
            recent = (recent + batch)[-3000:]
            repeated = self._rng.choices(recent, k=int(len(batch) * DUPLICATES))
            self.duplicates += len(repeated)
            self._recording.log.append([*batch, *repeated])

    def finish(self) -> None:
        self._finish.set()
        self.join(10)


def owner_of(lake: Path, pool: list[ForkedRecorder]) -> ForkedRecorder | None:
    """Return the living recorder that holds the lake."""
    with contextlib.suppress(FileNotFoundError):
        pid, _, _ = (lake / LOCK_FILE).read_text().partition(" ")
        return next((recorder for recorder in pool if str(recorder.pid) == pid), None)
    return None


def test_killed_50_times_under_load_every_event_is_recorded_exactly_once(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    rng = random.Random(20180610)
    recording = Recording(redis_server, tmp_path)
    producer = Producer(recording, rng)
    pool: list[ForkedRecorder] = []

    def top_up() -> None:
        while len(pool) < POOL:
            pool.append(recording.recorder())

    interrupted = 0
    started = time.monotonic()
    try:
        producer.start()
        top_up()
        for _ in range(KILLS):
            wait_until(
                lambda: owner_of(recording.lake.root, pool) is not None,
                30,
                "a recorder takes the lake",
                every=0.002,
            )
            victim = owner_of(recording.lake.root, pool)
            assert victim is not None
            # About the time for reclaiming, reading, writing three files and acknowledging.
            time.sleep(rng.uniform(0, 0.2))
            victim.kill()
            interrupted += recording.pending() > 0
            pool.remove(victim)
            top_up()
        producer.finish()
        recording.wait_until_recorded()
    finally:
        producer.finish()
        for recorder in pool:
            recorder.stop()

    for stream in EVENT_TYPES:
        assert recording.event_ids(stream) == sorted(producer.expected[stream]), (
            f"{stream}: lost or doubled"
        )
    assert list(tmp_path.rglob("*.tmp")) == [], "half-written files stay behind"
    total = sum(len(ids) for ids in producer.expected.values())
    logging.getLogger(__name__).info(
        f"{KILLS} kills in {time.monotonic() - started:.0f} s, {interrupted} of them between"
        f" reading and acknowledging; {total} events, {producer.duplicates} duplicates"
    )
    assert interrupted >= KILLS / 10, "the kills missed the recorder's work, so nothing was proved"
    assert producer.duplicates > 0
