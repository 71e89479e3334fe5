"""What Redis has lost is found by the copy, put back, told once and written down. Real Redis."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from dojo.core.connections import connect_redis
from dojo.core.registry.promotion import Change, RoleChanges, full_traffic
from dojo.core.registry.versions import ModelRegistry
from dojo.core.state.audit import HEAD_KEY, IDS_KEY, STREAM_KEY, AuditTrail
from dojo.core.state.clock import CLOCK_KEY, RedisWorldClock
from dojo.core.state.inbox import Inbox
from dojo.core.state.loss import LOSS_FAMILY, held_back, open_loss
from dojo.core.state.responder_control import read_control, switch_pause
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import RouteTable, route_key
from dojo.core.state.watch import StateWatch
from dojo.core.tasks.specs import load_spec
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

MODEL = "fraud_detection"
NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)
SPEC = load_spec(Path("models/fraud_detection.yaml"))
SPEED = 0.5


@pytest.fixture
def redis(redis_server: RedisServer) -> Redis:
    """A world in the middle of a canary. A person paused the responder. Four audit entries."""
    client = connect_redis(redis_server.url)
    RedisWorldClock(client).set(NOON, SPEED)
    trail = AuditTrail(client)
    changes = RoleChanges(ModelRegistry("http://127.0.0.1:9"), RouteTable(client), trail)
    for version in ("1", "2"):
        change = Change(key=f"key {version}", who="Zoë", why="set up", world_time=NOON)
        changes.route(MODEL, "champion", full_traffic(version, None), change)
    Rollouts(client).start(SPEC, "3", "2", NOON, "gate", "it won", {})
    switch_pause(client, "*", True, "Zoë", "we change the feed", NOON)
    trail.append(entry_id="one more", kind="data", model=MODEL, who="tests", what="x", why="x")
    return client


@pytest.fixture
def watch(redis: Redis, tmp_path: Path) -> StateWatch:
    """It has seen everything."""
    found = StateWatch(redis, tmp_path / "home" / "redis.json", [MODEL])
    assert found.look() is None
    return found


def state(redis: Redis) -> dict[bytes, bytes | None]:
    names = (route_key(MODEL), f"dojo:rollout:{MODEL}", "dojo:responder:control")
    return {name.encode(): redis.get(name) for name in names}  # type: ignore[misc]


def test_a_route_that_was_removed_on_purpose_is_no_loss(redis: Redis, watch: StateWatch) -> None:
    changes = RoleChanges(ModelRegistry("http://127.0.0.1:9"), RouteTable(redis), AuditTrail(redis))
    change = Change(key="retired", who="Zoë", why="deleted in MLflow", world_time=NOON)
    changes.retire(MODEL, change)
    assert watch.look() is None
    assert redis.get(route_key(MODEL)) is None, "it is not put back"


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_an_emptied_redis_gets_back_what_was_decided_and_its_trail_says_what_is_missing(
    redis: Redis, watch: StateWatch, tmp_path: Path, restarted: bool
) -> None:
    before, end = state(redis), AuditTrail(redis).end()
    redis.flushall()
    if restarted:
        watch = StateWatch(redis, tmp_path / "home" / "redis.json", [MODEL])
    loss = watch.look()
    assert loss is not None
    assert loss.lost == (
        "the responder's kill switch and dry run",
        f"the route of {MODEL}",
        f"the rollout of {MODEL}",
        "the clock",
        "4 of 4 audit entries, up to 4",
    )
    assert state(redis) == before
    clock = RedisWorldClock(redis)
    assert clock.speed() == SPEED
    assert NOON <= clock.now() < NOON + timedelta(minutes=1)

    (entry,) = AuditTrail(redis).entries()
    assert (entry.sequence, entry.previous, entry.kind, entry.who) == (
        end.sequence + 1,
        end.hash,
        "world",
        "state watch",
    )
    assert "4 of 4 audit entries" in entry.what
    anchors = {end.sequence: end.hash}
    faults = AuditTrail(redis).verify(anchors).faults
    assert faults == (
        "entries 1 to 4: missing",
        f"entry 4: the registry remembers {end.hash[:12]}, found nothing",
    )

    for _ in range(3):
        assert watch.look() == loss
    (page,) = Inbox(redis).newest(10)
    assert (page.urgency, page.to, page.title) == ("page", "ml-platform", "Redis has lost state")
    assert f"the route of {MODEL}" in page.text
    assert "dojo restore --why" in page.text
    assert AuditTrail(redis).length() == end.sequence + 1
    assert "the clock" in held_back(redis)


def without(*keys: str) -> Callable[[Redis], None]:
    return lambda redis: redis.delete(*keys)


@pytest.mark.parametrize(
    ("lose", "lost"),
    [
        (without(route_key(MODEL)), (f"the route of {MODEL}",)),
        (without(CLOCK_KEY), ("the clock",)),
        (without("dojo:responder:control"), ("the responder's kill switch and dry run",)),
        (without(STREAM_KEY), ("4 of 4 audit entries, up to 4",)),
        (without(STREAM_KEY, HEAD_KEY, IDS_KEY), ("4 of 4 audit entries, up to 4",)),
        (without(HEAD_KEY), ("the end of the audit trail",)),
        (lambda redis: redis.xdel(STREAM_KEY, "2-0"), ("1 of 4 audit entries, up to 4",)),
        (lambda redis: redis.xdel(STREAM_KEY, "4-0"), ("1 of 4 audit entries, up to 4",)),
    ],
    ids=[
        "route",
        "clock",
        "kill switch",
        "audit stream",
        "audit trail",
        "audit head",
        "an entry",
        "the last entry",
    ],
)
def test_a_part_is_missed_too_and_nothing_else_changes(
    redis: Redis, watch: StateWatch, lose: Callable[[Redis], None], lost: tuple[str, ...]
) -> None:
    before = state(redis)
    lose(redis)
    loss = watch.look()
    assert loss is not None
    assert loss.lost == lost
    assert state(redis) == before
    assert RedisWorldClock(redis).is_set()
    assert watch.look() == loss, "found once"
    newest = next(AuditTrail(redis).entries(newest_first=True))
    assert (newest.sequence, newest.kind) == (5, "world")


def test_a_whole_redis_is_left_alone_whoever_changes_it(redis: Redis, watch: StateWatch) -> None:
    changes = RoleChanges(ModelRegistry("http://127.0.0.1:9"), RouteTable(redis), AuditTrail(redis))
    changes.route(
        MODEL,
        "champion",
        full_traffic("1", None),
        Change(key="k", who="Zoë", why="x", world_time=NOON),
    )
    switch_pause(redis, "*", False, "Zoë", "done", NOON)
    assert watch.look() is None
    assert AuditTrail(redis).length() == 6
    assert held_back(redis) == ""


def test_another_process_that_made_a_route_anew_is_not_overruled(
    redis: Redis, watch: StateWatch
) -> None:
    """The rollout controller makes its stage's route again, as generation 1."""
    redis.delete(route_key(MODEL))
    changes = RoleChanges(ModelRegistry("http://127.0.0.1:9"), RouteTable(redis), AuditTrail(redis))
    made = changes.route(
        MODEL,
        "champion",
        full_traffic("2", None),
        Change(key="k", who="rollout", why="x", world_time=NOON),
    )
    loss = watch.look()
    assert loss is not None
    assert loss.lost == (f"the latest change of the route of {MODEL}",)
    assert RouteTable(redis).get(MODEL) == made


def test_a_second_loss_is_added_to_the_first_even_when_it_takes_its_note(
    redis: Redis, watch: StateWatch
) -> None:
    redis.delete(route_key(MODEL))
    first = watch.look()
    redis.flushall()
    second = watch.look()
    assert first is not None
    assert second is not None
    assert second.lost[0] == f"the route of {MODEL}"
    assert {"the clock", "the note of an earlier loss", "5 of 5 audit entries, up to 5"} <= set(
        second.lost
    )
    assert len(Inbox(redis).newest(10)) == 1, "the first page was lost with the inbox"
    assert read_control(redis).paused["*"].who == "Zoë"


def test_a_watch_killed_before_it_saved_its_copy_tells_of_the_loss_once(
    redis: Redis, watch: StateWatch, tmp_path: Path
) -> None:
    path = tmp_path / "home" / "redis.json"
    kept = path.read_bytes()
    redis.flushall()
    loss = watch.look()
    path.write_bytes(kept)  # as before the loss
    assert StateWatch(redis, path, [MODEL]).look() == loss
    assert len(list(AuditTrail(redis).entries())) == 1


def test_an_unreadable_copy_begins_anew(redis: Redis, watch: StateWatch, tmp_path: Path) -> None:
    (tmp_path / "home" / "redis.json").write_text("{")
    assert StateWatch(redis, tmp_path / "home" / "redis.json", [MODEL]).look() is None
    assert open_loss(redis) is None
    assert not redis.exists(LOSS_FAMILY)
