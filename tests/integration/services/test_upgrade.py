"""Processes are upgraded one after the other: what a newer writer adds, an older reader ignores."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from dojo.core.events.dead_letters import KEY, DeadLetters, sift
from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from dojo.core.events.streams import EVENT_TYPES
from dojo.core.events.types import Event, Stream
from dojo.core.judging.rollout.evidence import Evidence
from dojo.core.judging.rollout.stages import Stage
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.documents import Document
from dojo.core.state.routes import Arm, Route, decode_route
from dojo.core.state.work_orders import Work, WorkOrder, WorkOrders
from dojo.shop.events import TRANSACTIONS
from feature_repo import catalog
from services.rollout.reader import EventReader
from services.streamer.metrics import StreamerMetrics
from services.streamer.streamer import Streamer
from services.streamer.windows import RedisWindows
from tests.integration.services.monitor.monitoring import Monitoring
from tests.integration.services.recorder.recording import START, Recording, synthetic_events
from tests.support.monitor_events import profile
from tests.support.servers import RedisServer, wait_until
from tests.unit.services.rollout.test_rollout import SPEC, rollout_in

pytestmark = pytest.mark.integration

LATER: dict[str, Any] = {"colour": "red", "of_a_later_release": {"nested": [1, None]}}


def with_more_fields(value: Any) -> Any:
    """As a later release might write it: more fields in every object."""
    if isinstance(value, dict):
        return {**LATER, **{name: with_more_fields(inner) for name, inner in value.items()}}
    return [with_more_fields(inner) for inner in value] if isinstance(value, list) else value


def of_a_later_release(event: Event) -> bytes:
    document = msgspec.to_builtins(event)
    if "findings" in document:
        document["findings"] = with_more_fields(document["findings"])
    return msgspec.json.encode({**document, **LATER})


@pytest.fixture
def recording(redis_server: RedisServer, tmp_path: Path) -> Recording:
    found = Recording(redis_server, tmp_path)
    RedisWorldClock(found.client).set(START + timedelta(days=1), 0)
    return found


def test_every_reader_takes_events_with_fields_that_it_does_not_know(
    recording: Recording, redis_server: RedisServer
) -> None:
    """First one writer is upgraded: its events come among those of the others."""
    events = list(islice(synthetic_events(random.Random(1)), 20 * len(EVENT_TYPES)))
    monitoring = Monitoring(redis_server, recording.directory)
    monitoring.knows(profile())
    for number, event in enumerate(events):
        if number % 2:
            recording.client.xadd(
                stream_key(event.stream), {PAYLOAD_FIELD: of_a_later_release(event)}
            )
        else:
            recording.log.append([event])

    recorder, monitor = recording.recorder(), monitoring.monitor()
    try:
        recording.wait_until_recorded()
        monitoring.wait_until_counted()
    finally:
        recorder.stop()
        monitor.stop()
    for stream in EVENT_TYPES:
        ids = sorted(event.event_id for event in events if event.stream == stream)
        assert sorted(recording.lake.scan(stream).collect()["event_id"]) == ids
    assert (
        sum(window.rows for window in monitoring.counted().hours["fraud_detection", "1"].values())
        == 20
    )

    written: list[str] = []
    streamer = Streamer(
        TRANSACTIONS,
        catalog.streaming_views(),
        recording.log,
        DeadLetters(recording.client, "streamer"),
        RedisWindows(recording.client),
        lambda view, rows: written.append(view),
        StreamerMetrics(CollectorRegistry()),
        lambda: None,
    )
    wait_until(
        lambda: streamer.next_round(timedelta(milliseconds=1)).messages == 0,
        10,
        "the streamer has read all",
    )
    assert set(written) == {view.name for view in catalog.streaming_views()}

    evidence = Evidence(
        stage=Stage.WATCH, cursors={Stream.PREDICTIONS: "0-0", Stream.OUTCOMES: "0-0"}, generation=1
    )
    read, _ = EventReader(recording.log).read(evidence, rollout_in(Stage.WATCH), SPEC)
    assert (read, evidence.malformed) == (40, 0)

    for stream in (Stream.VERDICTS, Stream.SHADOWS):
        _, rejected = sift(EVENT_TYPES[stream], recording.log.tail(stream, "0-0", 100))
        assert rejected == []
    assert list(recording.client.scan_iter(KEY.format(service="*"))) == [], (
        "a reader set something aside"
    )


def rewritten(recording: Recording, key: str) -> None:
    """The document under a key, as a later release would have written it."""
    content = recording.client.get(key)
    recording.client.set(key, msgspec.json.encode(with_more_fields(msgspec.json.decode(content))))


def test_documents_with_fields_that_a_reader_does_not_know_are_read(recording: Recording) -> None:
    route = Route(
        model="m",
        generation=4,
        strategy="champion",
        arms=(Arm("champion", "1", 1.0),),
        salt="s",
        changed_at=START,
        who="Zoë",
        why="to see",
    )
    document = Document(recording.client, "dojo:route:{model}", Route, model="m")
    document.put(route)
    rewritten(recording, document.key)
    assert decode_route(recording.client.get(document.key)) == route
    assert document.get() == route

    clock = RedisWorldClock(recording.client)
    before = clock.now()
    rewritten(recording, "dojo:clock")
    assert RedisWorldClock(recording.client).now() == before

    orders = WorkOrders(recording.client)
    placed = orders.place(
        WorkOrder(id="o1", model="m", kind="evaluate", who="Zoë", why="to see", world_time=START)
    )
    rewritten(recording, "dojo:work:order:o1")
    (found,) = orders.open()
    assert found.order.id == placed.order.id
    assert orders.begin("o1").state == "running"
    assert isinstance(orders.end("o1", "done", {"verdict": "ok"}), Work)
