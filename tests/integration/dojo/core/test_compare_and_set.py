"""Routes, rollouts and freshness under concurrent writers.

Every change follows the change before it, and none is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from dojo.core.connections import connect_redis
from dojo.core.judging.rollout.stages import Stage
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.atomic import ConflictError
from dojo.core.state.freshness import read_freshness, record_freshness
from dojo.core.state.rollouts import (
    NoRolloutError,
    Rollout,
    RolloutActiveError,
    RolloutRequest,
    Rollouts,
)
from dojo.core.state.routes import Arm, Route, RouteTable, route_key
from dojo.core.tasks.specs import load_spec
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)
WRITERS, CHANGES = 4, 50
SPEC = load_spec(Path(__file__).parents[4] / "models" / "fraud_detection.yaml")


@pytest.fixture
def rollouts(redis_server: RedisServer) -> Iterator[Rollouts]:
    with connect_redis(redis_server.url) as redis:
        yield Rollouts(redis)


def together(target: Callable[[str, int], None], url: str) -> None:
    """Run writers at the same time, each with its own connection. None may fail."""
    with ThreadPoolExecutor(WRITERS) as pool:
        for future in [pool.submit(target, url, number) for number in range(WRITERS)]:
            future.result(60)


def change_the_route(url: str, writer: int) -> None:
    table, done = RouteTable(connect_redis(url)), 0
    while done < CHANGES:
        found = table.read("fraud")
        generation, salt = (found.value.generation, found.value.salt) if found.value else (0, "")
        route = Route(
            model="fraud",
            generation=generation + 1,
            strategy="champion",
            arms=(Arm("champion", "1", 1.0),),
            salt=f"{salt}{writer}",
            changed_at=NOON,
            who="",
            why="",
        )
        try:
            table.replace(found, route)
        except ConflictError:
            continue
        done += 1


def test_routes_changed_by_many_at_once_lose_no_change(redis_server: RedisServer) -> None:
    together(change_the_route, redis_server.url)
    route = RouteTable(connect_redis(redis_server.url)).get("fraud")
    assert route is not None
    assert route.generation == len(route.salt) == WRITERS * CHANGES
    assert sorted(route.salt) == sorted("0123"[:WRITERS] * CHANGES)


@pytest.mark.parametrize("generation", [1, 3, 7])
def test_a_route_that_does_not_follow_the_current_one_is_refused(
    redis_server: RedisServer, generation: int
) -> None:
    redis = connect_redis(redis_server.url)
    table = RouteTable(redis)
    route = Route(
        model="fraud",
        generation=1,
        strategy="champion",
        arms=(Arm("champion", "1", 1.0),),
        salt="",
        changed_at=NOON,
        who="",
        why="",
    )
    table.replace(table.read("fraud"), route)
    before = redis.get(route_key("fraud"))
    with pytest.raises(ConflictError, match="found 1"):
        table.replace(table.read("fraud"), msgspec.structs.replace(route, generation=generation))
    assert redis.get(route_key("fraud")) == before
    table.replace(table.read("fraud"), msgspec.structs.replace(route, generation=2))


def start(rollouts: Rollouts, version: str, spec: ModelSpec = SPEC, **more: object) -> Rollout:
    given = {
        "champion": "1",
        "now": NOON,
        "who": "Zoë",
        "why": "it won",
        "baseline": {"pr_auc": 0.6},
    }
    return rollouts.start(spec, version, **{**given, **more})  # type: ignore[arg-type]


def test_a_second_rollout_is_refused_and_the_message_says_how_to_go_on(rollouts: Rollouts) -> None:
    first = start(rollouts, "2")
    assert (first.stage, first.revision) == (Stage.SHADOW, 1)
    with pytest.raises(
        RolloutActiveError,
        match=r"version 2 is already .*\(shadow.*version 3 has to wait.*dojo rollout abort",
    ):
        start(rollouts, "3")
    assert start(rollouts, "2", now=NOON + timedelta(hours=1)) == first, (
        "a repeated start finds what it began"
    )
    with pytest.raises(NoRolloutError, match="is the champion already"):
        start(rollouts, "1", spec=SPEC.model_copy(update={"name": "other"}))


def test_an_ended_rollout_makes_room_and_is_not_begun_again_by_a_repeated_task(
    rollouts: Rollouts,
) -> None:
    first = start(rollouts, "2")
    ended = rollouts.save(msgspec.structs.replace(first, stage=Stage.ROLLED_BACK))
    assert start(rollouts, "2") == ended
    again = start(rollouts, "2", again=True, now=NOON + timedelta(days=1))
    assert (again.stage, again.id != first.id, again.revision) == (
        Stage.SHADOW,
        True,
        ended.revision + 1,
    )
    rollouts.save(msgspec.structs.replace(again, stage=Stage.DONE))
    assert start(rollouts, "3", champion="2").champion == "2"


def test_a_new_rollout_begins_without_the_last_ones_evidence(rollouts: Rollouts) -> None:
    first = rollouts.save(start(rollouts, "2"), b'{"requests": 7}')
    assert rollouts.evidence(SPEC.name) == b'{"requests": 7}'
    rollouts.save(msgspec.structs.replace(first, stage=Stage.DONE))
    assert rollouts.evidence(SPEC.name) == b'{"requests": 7}', "a write without evidence keeps it"
    start(rollouts, "3")
    assert rollouts.evidence(SPEC.name) in (None, b"null")


def start_a_rollout(url: str, writer: int) -> None:
    """Let every writer ask for another version.

    One succeeds. The others are refused, or told to look again.
    """
    try:
        start(Rollouts(connect_redis(url)), str(writer + 2))
    except (RolloutActiveError, ConflictError):
        return


def test_of_rollouts_started_at_the_same_time_one_is(
    redis_server: RedisServer, rollouts: Rollouts
) -> None:
    together(start_a_rollout, redis_server.url)
    found = rollouts.get(SPEC.name)
    assert found is not None
    assert (found.revision, len(found.history), found.active) == (1, 1, True)


def leave_requests(url: str, writer: int) -> None:
    rollouts, done = Rollouts(connect_redis(url)), 0
    while done < CHANGES:
        try:
            rollouts.request(
                SPEC.name, RolloutRequest(action="abort", who=str(writer), why="", wall_time=NOON)
            )
        except ConflictError:
            continue
        done += 1


def test_requests_and_looks_at_the_same_time_lose_nothing(
    redis_server: RedisServer, rollouts: Rollouts
) -> None:
    start(rollouts, "2")
    together(leave_requests, redis_server.url)
    found = rollouts.get(SPEC.name)
    assert found is not None
    assert found.revision == 1 + WRITERS * CHANGES


def test_a_stale_write_changes_neither_rollout_nor_evidence(rollouts: Rollouts) -> None:
    read = start(rollouts, "2")
    newer = rollouts.save(read, b"newer")
    with pytest.raises(ConflictError):
        rollouts.save(msgspec.structs.replace(read, paused=True), b"stale")
    assert (rollouts.get(SPEC.name), rollouts.evidence(SPEC.name)) == (newer, b"newer")


def test_nothing_can_be_asked_of_a_model_without_an_active_rollout(rollouts: Rollouts) -> None:
    request = RolloutRequest(action="abort", who="Zoë", why="", wall_time=NOON)
    with pytest.raises(NoRolloutError, match="no rollout is active"):
        rollouts.request(SPEC.name, request)
    rollouts.save(msgspec.structs.replace(start(rollouts, "2"), stage=Stage.DONE))
    with pytest.raises(NoRolloutError, match="the last one is done"):
        rollouts.request(SPEC.name, request)


def test_a_late_note_of_an_older_time_leaves_a_view_as_fresh_as_it_is(
    redis_server: RedisServer,
) -> None:
    redis, faster, hour = (
        connect_redis(redis_server.url),
        connect_redis(redis_server.url),
        timedelta(hours=1),
    )
    read = redis.hget

    def read_and_be_overtaken(name: str, key: str) -> object:
        found = read(name, key)
        record_freshness(faster, key, NOON + 2 * hour, hour)
        return found

    redis.hget = read_and_be_overtaken  # type: ignore[assignment,method-assign]
    record_freshness(redis, "view", NOON + hour, hour)
    assert read_freshness(faster)["view"].as_of == NOON + 2 * hour
    record_freshness(faster, "view", NOON + 3 * hour, hour)
    assert read_freshness(faster)["view"].as_of == NOON + 3 * hour
