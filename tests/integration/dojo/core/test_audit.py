"""The audit trail on a real Redis: every later change of an entry is found."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import (
    FIELD,
    HEAD_KEY,
    IDS_KEY,
    PAGE,
    STREAM_KEY,
    AuditTrail,
    Entry,
    EntryAnchor,
)
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("audit"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(server: RedisServer) -> Redis:
    client = Redis.from_url(server.url)
    client.flushdb()
    return client


@pytest.fixture
def trail(redis: Redis) -> AuditTrail:
    return AuditTrail(redis)


def record(trail: AuditTrail, number: int, **more: Any) -> Entry | None:
    given: dict[str, Any] = {
        "entry_id": f"change-{number}",
        "kind": "alias",
        "model": "fraud_detection",
        "who": "Zoë",
        "what": f"version {number} became champion",
        "why": "it won by 12.3 %",
        "before": {"champion": str(number - 1)},
        "after": {"champion": str(number), "gain": 0.1 + number / 3},
        "world_time": NOON,
    }
    return trail.append(**{**given, **more})


def messages(redis: Redis) -> list[tuple[str, bytes]]:
    rows = cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange(STREAM_KEY))
    return [(message_id.decode(), fields[FIELD]) for message_id, fields in rows]


def rewrite(redis: Redis, rows: list[tuple[str, bytes]]) -> None:
    """Replace the stream's messages, as a person with access to Redis can."""
    redis.delete(STREAM_KEY)
    for message_id, content in rows:
        redis.xadd(STREAM_KEY, {FIELD: content}, id=message_id)


def test_entries_read_back_as_they_were_written_in_order(trail: AuditTrail) -> None:
    written = [record(trail, number) for number in range(1, PAGE + 3)]
    assert list(trail.entries()) == written
    assert list(trail.entries(newest_first=True)) == written[::-1]
    assert [entry.sequence for entry in trail.entries()] == list(range(1, PAGE + 3))
    assert trail.get(2) == written[1]
    assert trail.get(9999) is None
    found = trail.verify()
    assert (found.entries, found.faults) == (PAGE + 2, ())


def test_an_empty_trail_is_whole(trail: AuditTrail) -> None:
    assert trail.verify().faults == ()


def test_a_change_is_recorded_once_however_often_it_is_repeated(trail: AuditTrail) -> None:
    first = record(trail, 1)
    assert record(trail, 1, why="again") is None
    assert list(trail.entries()) == [first]
    assert trail.find("change-1") == first
    assert trail.find("change-2") is None


def test_writes_and_their_entry_are_written_together_or_not_at_all(
    redis: Redis, trail: AuditTrail
) -> None:
    def change(number: int, expected: bytes, content: bytes) -> Entry | None:
        entry = Entry(
            entry_id=f"change-{number}",
            kind="alias",
            model="m",
            who="Zoë",
            what="a change",
            why="a reason",
        )
        return trail.record(entry, [(("GET", "key"), expected)], [("SET", "key", content)])

    change(1, b"", b"one")
    assert redis.get("key") == b"one"
    for stale in (b"", b"other"):
        with pytest.raises(ConflictError, match="key was changed meanwhile"):
            change(2, stale, b"two")
    assert (redis.get("key"), len(list(trail.entries()))) == (b"one", 1)
    change(2, b"one", b"two")
    assert redis.get("key") == b"two"
    assert change(2, b"two", b"three") is None, "recorded before: nothing happens"
    assert (redis.get("key"), trail.verify().faults) == (b"two", ())


def _append_many(url: str, writer: int, shared: int, own: int, begin: Barrier) -> None:
    trail = AuditTrail(Redis.from_url(url))
    begin.wait(60)  # start together: a process starts in seconds and appends in milliseconds
    for number in range(shared):
        record(trail, number)
    for number in range(own):
        record(trail, 1000 * (writer + 1) + number)


def test_processes_that_append_at_the_same_time_make_one_chain(
    server: RedisServer, trail: AuditTrail
) -> None:
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(4)
    writers = [
        context.Process(target=_append_many, args=(server.url, writer, 20, 30, begin))
        for writer in range(4)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert trail.verify().faults == (), "and whoever looks meanwhile finds it whole"
    assert [writer.exitcode for writer in writers] == [0] * 4
    ids = [entry.entry_id for entry in trail.entries()]
    assert len(ids) == len(set(ids)) == 20 + 4 * 30
    assert trail.verify().faults == ()


@given(
    entry=st.integers(0, 5),
    position=st.integers(0, 2**16),
    byte=st.sampled_from([1 << bit for bit in range(8)]) | st.integers(1, 255),
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_changed_byte_of_any_entry_is_found(
    redis: Redis, trail: AuditTrail, entry: int, position: int, byte: int
) -> None:
    if not redis.exists(HEAD_KEY):
        for number in range(1, 7):
            record(trail, number)
    honest = messages(redis)
    message_id, content = honest[entry]
    position %= len(content)
    changed = content[:position] + bytes([content[position] ^ byte]) + content[position + 1 :]
    rewrite(redis, [*honest[:entry], (message_id, changed), *honest[entry + 1 :]])
    faults = trail.verify().faults
    rewrite(redis, honest)
    assert faults
    assert trail.verify().faults == ()


Rows = list[tuple[str, bytes]]


def _with(rows: Rows, at: int, **fields: Any) -> Rows:
    """Change one entry, and chain all later entries anew, as a careful forger does."""
    out, previous = rows[:at], None
    for message_id, content in rows[at:]:
        entry = msgspec.json.decode(content, type=Entry)
        entry = msgspec.structs.replace(
            entry, **(fields if previous is None else {"previous": previous})
        )
        out.append((message_id, msgspec.json.encode(entry)))
        previous = entry.hash
    return out


@pytest.mark.parametrize(
    ("forge", "fault"),
    [
        (lambda rows: rows[1:], "entry 1: missing"),
        (lambda rows: [*rows[:2], *rows[3:]], "entry 3: missing"),
        (lambda rows: [*rows[:1], *rows[4:]], "entries 2 to 4: missing"),
        (
            lambda rows: [*rows[:2], ("2-1", rows[0][1]), *rows[2:]],
            "entry 2-1: says it is number 1",
        ),
        (lambda rows: rows[:-1], "the newest entry is 5"),
        (lambda rows: [], "the newest entry is 0"),
        (
            lambda rows: [*rows[:3], (rows[3][0], b"gone"), *rows[4:]],
            "entry 4-0: unreadable: b'gone'",
        ),
        (
            lambda rows: [*rows[:3], (rows[3][0], rows[3][1].replace(b"Zo", b"Jo")), *rows[4:]],
            "entry 5: does not follow entry 4",
        ),
        # All chained anew, except the head.
        (lambda rows: _with(rows, 2, who="nobody"), "the newest entry is 6"),
    ],
)  # fmt: skip
def test_what_was_forged_is_named(
    redis: Redis, trail: AuditTrail, forge: Callable[[Rows], Rows], fault: str
) -> None:
    for number in range(1, 7):
        record(trail, number)
    rewrite(redis, forge(messages(redis)))
    assert any(found.startswith(fault) for found in trail.verify().faults), trail.verify().faults


def test_a_trail_forged_to_its_head_is_found_by_the_anchors_of_the_registry(
    redis: Redis, trail: AuditTrail
) -> None:
    entries = [record(trail, number) for number in range(1, 7)]
    anchors = {
        entry.sequence: entry.hash for entry in entries if entry is not None and entry.sequence == 4
    }
    assert trail.verify(anchors).faults == ()
    rewrite(redis, _with(messages(redis), 2, who="nobody"))
    last = list(trail.entries())[-1]
    redis.set(HEAD_KEY, msgspec.json.encode({"sequence": last.sequence, "hash": last.hash}))
    assert trail.verify().faults == (), "the chain alone cannot know"
    (fault,) = trail.verify(anchors).faults
    assert fault.startswith("entry 4: the registry remembers")
    # A deleted trail has anchors, too.
    redis.delete(STREAM_KEY, HEAD_KEY, IDS_KEY)
    assert trail.verify(anchors).faults == (
        f"entry 4: the registry remembers {anchors[4][:12]}, found nothing",
    )


def test_the_platforms_own_anchors_decide_between_the_trail_and_the_registry(
    redis: Redis, trail: AuditTrail
) -> None:
    entries = [entry for number in range(1, 7) if (entry := record(trail, number)) is not None]
    recorded = [
        EntryAnchor(entry.sequence, entry.hash) for entry in entries if entry.sequence in (2, 4)
    ]
    assert trail.verify({4: entries[3].hash}, recorded).faults == ()
    (fault,) = trail.verify({4: "f" * 64}, recorded).faults
    assert (
        fault
        == "entry 4: its anchor in the registry was changed to ffffffffffff; the entry is as it was"
        " written"
    )
    redis.delete(STREAM_KEY, HEAD_KEY, IDS_KEY)
    again = record(trail, 1)
    assert again is not None
    assert [fault.partition(":")[0] for fault in trail.verify({}, recorded).faults] == [
        "entry 2",
        "entry 4",
    ]


def test_an_id_that_is_marked_as_written_without_its_entry_is_found(
    redis: Redis, trail: AuditTrail
) -> None:
    record(trail, 1)
    redis.hset(IDS_KEY, "change-2", "2")  # would hide the next change's record
    assert trail.verify().faults == ("1 entries are there, 2 ids are marked as written",)


def test_an_unreadable_entry_hides_no_other(redis: Redis, trail: AuditTrail) -> None:
    for number in range(1, 4):
        record(trail, number)
    rows = messages(redis)
    rewrite(redis, [rows[0], ("2-0", b"\xff"), rows[2]])
    assert [entry.sequence for entry in trail.entries()] == [1, 3]
    assert record(trail, 4) is not None


def test_the_trail_survives_a_killed_server(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        trail = AuditTrail(Redis.from_url(server.url))
        for number in range(1, 4):
            record(trail, number)
        server.kill()
        server.start()
        assert trail.verify().faults == ()
        assert record(trail, 4) is not None
        assert trail.verify().entries == 4
    finally:
        server.stop()
