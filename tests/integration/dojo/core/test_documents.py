"""Documents on a real Redis under concurrent changes: no change is lost or half done."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import msgspec
import pytest
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from dojo.core.state import documents
from dojo.core.state.atomic import Check, Command, ConflictError, write_if
from dojo.core.state.audit import HEAD_KEY, AuditTrail, Entry
from dojo.core.state.documents import Document
from tests.support.doomed import Fate, KilledError, doomed_redis
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

WRITERS, CHANGES = 4, 40
FAMILY, BESIDE = "test:counter:{name}", "test:counter:evidence"


class Counter(msgspec.Struct, frozen=True):
    changes: int = 0
    writers: str = ""


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(documents.FAMILIES, FAMILY, "Counter: of this test.")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("documents"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(server: RedisServer) -> Redis:
    client = Redis.from_url(server.url)
    client.flushdb()
    return client


def counter(redis: Redis, name: str = "a") -> Document[Counter]:
    return Document(redis, FAMILY, Counter, name=name)


def entry(name: str) -> Entry:
    return Entry(entry_id=name, kind="world", model="m", who="tests", what="counted", why="a test")


def count_one(document: Document[Counter], writer: str, audit: Entry | None = None) -> None:
    found = document.read()
    before = found.value or Counter()
    after = Counter(before.changes + 1, before.writers + writer)
    document.replace(found.revision, after, audit, writes=[("SET", BESIDE, str(after.changes))])


def count_many(url: str, writer: int, begin: Barrier) -> None:
    documents.FAMILIES[FAMILY] = "in this process, too"
    document, done = counter(Redis.from_url(url)), 0
    begin.wait(60)  # start together: a process starts in seconds and counts in milliseconds
    while done < CHANGES:
        try:
            count_one(document, str(writer), entry(f"{writer}-{done}") if done % 2 else None)
        except ConflictError:
            continue
        done += 1


def test_processes_that_change_it_at_once_lose_no_change_and_no_entry(
    server: RedisServer, redis: Redis
) -> None:
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(WRITERS)
    writers = [
        context.Process(target=count_many, args=(server.url, writer, begin))
        for writer in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    found = counter(redis).get()
    assert found is not None
    assert found.changes == len(found.writers) == WRITERS * CHANGES
    assert sorted(found.writers) == sorted("0123" * CHANGES)
    assert redis.get(BESIDE) == str(found.changes).encode()
    trail = AuditTrail(redis)
    assert (
        len({entry.entry_id for entry in trail.entries()})
        == trail.length()
        == WRITERS * CHANGES // 2
    )
    assert trail.verify().faults == ()


def test_the_slower_of_two_is_told_and_leaves_no_trace(redis: Redis) -> None:
    document = counter(redis)
    read = document.read()
    count_one(document, "fast")
    for audit in (None, entry("slow")):
        with pytest.raises(ConflictError, match="test:counter:a was changed meanwhile"):
            document.replace(read.revision, Counter(9), audit, writes=[("SET", BESIDE, "9")])
    assert document.get() == Counter(1, "fast")
    assert redis.get(BESIDE) == b"1"
    assert AuditTrail(redis).length() == 0


def test_a_change_by_hand_is_noticed(redis: Redis) -> None:
    document = counter(redis)
    count_one(document, "a")
    read = document.read()
    redis.set(document.key, b'{"changes": 1, "writers": "b"}')
    with pytest.raises(ConflictError):
        document.replace(read.revision, Counter(2))
    redis.delete(document.key)
    with pytest.raises(ConflictError):
        document.replace(read.revision, Counter(2))
    document.replace(document.read().revision, Counter(2))


def test_a_recorded_change_is_not_made_again(redis: Redis) -> None:
    document = counter(redis)
    count_one(document, "a", entry("once"))
    with pytest.raises(ConflictError):
        count_one(document, "a", entry("once"))
    assert document.get() == Counter(1, "a")


@pytest.mark.parametrize("audit", [None, entry("one")])
def test_a_check_that_fails_keeps_everything_as_it_was(redis: Redis, audit: Entry | None) -> None:
    document, busy = counter(redis), (("HGET", "slots", "m"), b"")
    redis.hset("slots", "m", "taken")
    with pytest.raises(ConflictError):
        document.replace(document.read().revision, Counter(1), audit, checks=[busy])
    assert (document.get(), redis.exists(HEAD_KEY)) == (None, 0)
    redis.delete("slots")
    document.replace(document.read().revision, Counter(1), audit, checks=[busy])
    assert document.get() == Counter(1)


@pytest.mark.parametrize("audit", [False, True])
def test_a_writer_that_is_killed_has_written_everything_or_nothing(
    server: RedisServer, redis: Redis, audit: bool
) -> None:
    """Kill the writer after its n-th write, for every n. Value, neighbours and entry agree."""
    for survives in range(3):
        redis.flushdb()
        document = counter(doomed_redis(server.url, Fate(survives)))
        changes = 0
        try:
            for changes in range(1, 5):
                count_one(document, "x", entry(str(changes)) if audit else None)
        except KilledError:
            pass
        assert changes == survives + 1, "one change is one write"
        assert counter(redis).get() == Counter(changes, "x" * changes)
        assert redis.get(BESIDE) == str(changes).encode()
        assert AuditTrail(redis).length() == (changes if audit else 0)


def test_commands_carry_any_bytes_and_name_the_check_that_failed(redis: Redis) -> None:
    every_byte = bytes(range(256)) * 300
    write: Command = ("SET", "key", every_byte)
    assert (
        write_if(redis, [], [write, ("HSET", "hash", "field", 7), ("ZADD", "set", 1.5, "member")])
        is None
    )
    assert (redis.get("key"), redis.hgetall("hash"), redis.zscore("set", "member")) == (
        every_byte,
        {b"field": b"7"},
        1.5,
    )
    holds: Check = (("GET", "key"), every_byte)
    fails: Check = (("LINDEX", "list", 0), b"x")
    assert write_if(redis, [holds, fails, holds], [("DEL", "key")]) == 1
    assert write_if(redis, [holds, holds], [("DEL", "key")]) is None
    assert redis.get("key") is None


def test_the_first_write_that_redis_refuses_stops_the_rest(redis: Redis) -> None:
    redis.set("text", "no list")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        write_if(redis, [], [("LPUSH", "text", "x"), ("SET", "after", "y")])
    assert redis.get("after") is None


def test_what_is_no_such_document_is_said(redis: Redis) -> None:
    redis.set(counter(redis).key, b'{"changes": "many"}')
    with pytest.raises(msgspec.ValidationError, match="changes"):
        counter(redis).read()


def test_an_absent_redis_is_said(tmp_path: Path) -> None:
    document = counter(Redis.from_url(f"unix://{tmp_path}/no.sock"))
    for act in (document.read, lambda: document.put(Counter()), lambda: count_one(document, "a")):
        with pytest.raises(RedisError):
            act()
