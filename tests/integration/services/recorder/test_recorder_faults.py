"""The recorder under full disks, absent servers and invalid messages.

It goes on, gives the reason for waiting, and loses nothing.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import ResponseError

from dojo.core.events.columns import frame_of
from dojo.core.events.dead_letters import KEY, DeadLetters
from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from dojo.core.events.streams import EVENT_TYPES, encode
from dojo.core.events.types import Event, Stream
from dojo.shop.events import TRANSACTIONS
from services.recorder.deduplicate import PartitionIds
from services.recorder.metrics import RecorderMetrics
from services.recorder.recorder import Recorder
from tests.integration.services.recorder.recording import (
    ForkedRecorder,
    Recording,
    synthetic_events,
)
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def recording(redis_server: RedisServer, tmp_path: Path) -> Recording:
    return Recording(redis_server, tmp_path)


@pytest.fixture
def recorder(recording: Recording) -> Iterator[ForkedRecorder]:
    process = recording.recorder()
    wait_until(
        lambda: process.health().get("state") == "recording",
        30,
        f"the recorder records; {process.log}",
    )
    yield process
    process.stop()


@pytest.fixture
def events() -> list[Event]:
    return list(
        islice(synthetic_events(random.Random(1), seconds_apart=400), 300 * len(EVENT_TYPES))
    )


def ids_of(events: list[Event], stream: str) -> list[str]:
    return sorted(event.event_id for event in events if event.stream == stream)


def assert_recorded(recording: Recording, events: list[Event]) -> None:
    recording.wait_until_recorded()
    for stream in EVENT_TYPES:
        assert recording.event_ids(stream) == ids_of(events, stream)


def test_what_is_recorded_is_what_was_appended(
    recording: Recording, recorder: ForkedRecorder, events: list[Event]
) -> None:
    recording.log.append(events)
    assert_recorded(recording, events)
    for stream in EVENT_TYPES:
        expected = frame_of(stream, [event for event in events if event.stream == stream])
        assert (
            recording.lake.scan(stream).collect().sort("event_id").equals(expected.sort("event_id"))
        )
    assert recorder.metric("dojo_recorder_events_total", stream=Stream.PREDICTIONS) == 300
    assert recorder.metric("dojo_recorder_lag_messages", stream=Stream.PREDICTIONS) == 0
    newest = max(event.world_time for event in events).timestamp()
    assert (
        recorder.metric("dojo_recorder_newest_world_timestamp_seconds", stream=TRANSACTIONS)
        == newest
    )


def test_events_that_history_already_holds_are_not_recorded_again(
    recording: Recording, recorder: ForkedRecorder, events: list[Event]
) -> None:
    """The world writes history in bulk and then replays its last day through the log."""
    history = [event for event in events if event.stream == TRANSACTIONS][:200]
    recording.log.append(events[:3])
    # The recorder must read a partition before others write to it.
    recording.wait_until_recorded()
    recording.lake.write(TRANSACTIONS, frame_of(TRANSACTIONS, history[1:]), "history")
    recording.log.append(events)
    assert_recorded(recording, events)
    assert recorder.metric("dojo_recorder_duplicates_total", stream=TRANSACTIONS) == 200


def test_a_full_disk_is_reported_and_nothing_is_lost(
    recording: Recording, recorder: ForkedRecorder, events: list[Event]
) -> None:
    """Limit every file to 300 bytes, log included. It acts as a full disk, without root."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("the limit of another process can be set on Linux only")
    half = len(events) // 2
    recording.log.append(events[:half])
    recording.wait_until_recorded()
    resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
    recording.log.append(events[half:])
    wait_until(lambda: recorder.health().get("status") == "failing", 10, "/healthz says failing")
    assert "File too large" in recorder.health()["reason"]
    wait_until(  # by then the log is full too
        lambda: recorder.metric("dojo_recorder_failures_total", cause="lake") >= 4,
        10,
        "the recorder keeps trying",
    )
    assert recorder.log.stat().st_size == 300
    assert recording.lag() == len(events) - half, "nothing is acknowledged that is not on disk"
    resource.prlimit(
        recorder.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    assert_recorded(recording, events)
    wait_until(lambda: recorder.health().get("status") == "ok", 10, "/healthz says ok again")
    assert list(recording.directory.rglob("*.tmp")) == []


def test_an_unwritable_lake_stops_neither_the_process_nor_the_log(
    recording: Recording, recorder: ForkedRecorder, events: list[Event]
) -> None:
    in_the_way = recording.lake.root / Stream.OUTCOMES
    in_the_way.write_text("a file where a directory must be")
    recording.log.append(events)
    wait_until(lambda: recorder.health().get("status") == "failing", 10, "/healthz says failing")
    assert recorder.health()["reason"].startswith("lake: ")
    in_the_way.unlink()
    assert_recorded(recording, events)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_hanging_redis_is_waited_for(
    recording: Recording, recorder: ForkedRecorder, events: list[Event], number: signal.Signals
) -> None:
    recording.log.append(events[:600])
    recording.wait_until_recorded()
    recording.redis.signal(number)
    wait_until(
        lambda: recorder.health().get("state") == "retrying",
        15,
        "/healthz says what the recorder waits for",
    )
    assert recorder.health()["reason"].startswith("Redis: ")
    assert recorder.health()["status"] == "ok", "restarting the recorder would not bring Redis back"
    if number is signal.SIGKILL:
        recording.redis.kill()
        recording.redis.start()
    else:
        recording.redis.signal(signal.SIGCONT)
        wait_until(recording.redis.answers, 10, "Redis goes on")
    recording.log.append(events[600:])
    assert_recorded(recording, events)


def test_an_emptied_redis_records_on(
    recording: Recording, recorder: ForkedRecorder, events: list[Event]
) -> None:
    recording.log.append(events[:600])
    recording.wait_until_recorded()
    recording.client.flushall()
    recording.log.append(events[400:])  # some of them again
    assert_recorded(recording, events)


def test_messages_that_are_no_events_are_set_aside_and_stop_nothing(
    recording: Recording, recorder: ForkedRecorder, events: list[Event]
) -> None:
    good = encode(next(event for event in events if event.stream == TRANSACTIONS))
    poison = [
        b"not JSON",
        b"\xff\xfe",
        b"",
        good.replace(b'"amount":0.0', b'"amount":null'),
        good.replace(b'"amount":0.0', b'"amount":-1'),
        good.replace(b"2018-06-10T20", b"0001-01-01T01").replace(b'Z"', b'+14:00"'),
        good.replace(b"2018-06-10T", b"9018-06-10T"),
        good.replace(b'Z"', b'"'),
    ]
    for number, event in enumerate(events):
        recording.log.append([event])
        if number < len(poison):
            recording.client.xadd(stream_key(TRANSACTIONS), {PAYLOAD_FIELD: poison[number]})
    recording.client.xadd(stream_key(Stream.OUTCOMES), {"unknown": "field"})
    assert_recorded(recording, events)
    letters = DeadLetters(recording.client, "recorder").newest(100)
    rejected = sorted(
        (one for one in letters if one.stream == TRANSACTIONS),
        key=lambda one: one.message_id,
    )
    assert [one.payload.encode() for one in rejected if one.payload.isascii()] == [
        p for p in poison if p != b"\xff\xfe"
    ]
    assert "$.amount" in rejected[3].reason
    assert "lies outside" in rejected[5].reason
    assert "world_time 9018-06-10 20:00:00+00:00 lies outside" in rejected[6].reason
    assert len(letters) == len(poison) + 1, "and the message without our field"
    wait_until(
        lambda: recorder.metric("dojo_dead_letters_total", stream=TRANSACTIONS) == len(poison),
        5,
        "all rejections count",
    )
    assert recorder.health()["status"] == "ok"


def test_a_message_is_acknowledged_only_after_its_letter_is_kept(recording: Recording) -> None:
    key, letters = KEY.format(service="recorder"), DeadLetters(recording.client, "recorder")
    recording.client.set(key, "no sorted set: Redis refuses the letter")
    recording.client.xadd(stream_key(Stream.OUTCOMES), {PAYLOAD_FIELD: b"not JSON"})
    recorder = Recorder(
        recording.log,
        recording.lake,
        PartitionIds(recording.lake),
        letters,
        RecorderMetrics(CollectorRegistry()),
    )
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        recorder.drain(lambda: False)
    assert recording.pending() == 1
    recording.client.delete(key)
    recorder.recover(lambda: False)
    assert [letter.payload for letter in letters.newest(9)] == ["not JSON"]
    assert recording.pending() == 0


def test_a_second_recorder_waits_and_takes_over(
    recording: Recording, recorder: ForkedRecorder, events: list[Event]
) -> None:
    with ExitStack() as cleanup:
        second = recording.recorder()
        cleanup.callback(second.stop)
        wait_until(
            lambda: second.health().get("state") == "waiting", 30, "the second recorder waits"
        )
        assert second.health()["status"] == "ok"
        assert f"process {recorder.pid}" in second.health()["reason"]
        recording.log.append(events[:600])
        recording.wait_until_recorded()
        recorder.kill()
        recording.log.append(events[600:])
        wait_until(
            lambda: second.health().get("state") == "recording",
            10,
            "the second recorder takes over",
        )
        assert_recorded(recording, events)


def test_behind_a_stray_recorder_that_hangs_the_waiting_one_says_so_and_shows_the_backlog_grow(
    recording: Recording, recorder: ForkedRecorder, events: list[Event]
) -> None:
    def lag() -> float:
        return sum(
            waiting.metric("dojo_recorder_lag_messages", stream=stream) for stream in EVENT_TYPES
        )

    with ExitStack() as cleanup:
        waiting = recording.recorder()
        cleanup.callback(waiting.stop)
        wait_until(
            lambda: waiting.health().get("state") == "waiting", 30, "the stack's recorder waits"
        )
        assert f"process {recorder.pid} on {socket.gethostname()}" in waiting.health()["reason"]
        os.kill(recorder.pid, signal.SIGSTOP)  # no supervisor heals it here
        assert waiting.metric("dojo_recorder_waiting") == 1
        recording.log.append(events[:600])
        wait_until(lambda: lag() == 600, 15, "its gauge shows the backlog")
        recording.log.append(events[600:])
        wait_until(lambda: lag() == len(events), 15, "and how it grows")
        recorder.kill()
        wait_until(lambda: waiting.health().get("state") == "recording", 10, "it takes over")
        assert_recorded(recording, events)
        assert waiting.metric("dojo_recorder_waiting") == 0
        wait_until(lambda: lag() == 0, 5, "the backlog is worked off")


def test_it_starts_from_the_command_line_and_ends_cleanly_on_sigterm(
    recording: Recording, events: list[Event]
) -> None:
    process = recording.recorder_from_the_command_line()
    process.start()
    try:
        recording.log.append(events)
        assert_recorded(recording, events)
    finally:
        assert process.stop(within=5) == 0
    assert "Traceback" not in process.log.read_text()


def test_wrong_settings_end_it_with_the_variables_name(recording: Recording) -> None:
    process = recording.recorder_from_the_command_line(DOJO_LOG_LEVEL="loud")
    process.start()
    assert process.process is not None
    assert process.process.wait(30) == 2
    assert "DOJO_LOG_LEVEL" in process.log.read_text()


def test_dead_for_longer_than_the_log_keeps_it_records_what_is_left(
    recording: Recording, events: list[Event]
) -> None:
    """Messages that a dead recorder had read, and that were trimmed since, are lost.

    They must not hold up the rest.
    """
    transactions = [event for event in events if event.stream == TRANSACTIONS]
    recording.log.append(transactions)
    recording.log.read(TRANSACTIONS, "recorder", "recorder", 250, timedelta(milliseconds=1))
    recording.client.xtrim(stream_key(TRANSACTIONS), maxlen=100, approximate=False)
    process = recording.recorder()
    try:
        recording.wait_until_recorded()
    finally:
        process.stop()
    assert recording.event_ids(TRANSACTIONS) == sorted(
        event.event_id for event in transactions[200:]
    )
    assert "trimmed before they were processed" in process.log.read_text()
