"""Promotion and rollback on a real MLflow and a real Redis, killed after every write to either."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.exceptions import RedisError

from dojo.core.connections import connect_redis
from dojo.core.registry.errors import (
    NoPreviousChampionError,
    RegistryUnavailableError,
    UnknownVersionError,
)
from dojo.core.registry.promotion import Change, RoleChanges
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS_CHAMPION,
    ModelRegistry,
    Version,
)
from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import AuditTrail
from dojo.core.state.documents import Stored
from dojo.core.state.routes import Arm, Route, RouteTable
from pipelines.release.tracking import tracking_client
from tests.support.doomed import DoomedMlflow, Fate, KilledError, doomed_redis
from tests.support.registries import bring_to, roles_of, sealed_registry
from tests.support.servers import MlflowServer, RedisServer, free_port

pytestmark = pytest.mark.integration

MODEL = "promotion_test"
NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("promotion"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def registry(mlflow_server: MlflowServer) -> Iterator[ModelRegistry]:
    """A registry with three versions of one model."""
    registry = sealed_registry(mlflow_server.url)
    for _ in range(3):
        run = tracking_client(registry).create_run("0").info
        registry.register(MODEL, run.run_id, f"{run.artifact_uri}/model", VersionTags())
    yield registry
    tracking_client(registry).delete_registered_model(MODEL)


@pytest.fixture
def champions(server: RedisServer, registry: ModelRegistry) -> RoleChanges:
    """Start without roles, routes and records."""
    redis = connect_redis(server.url)
    redis.flushdb()
    put(registry)
    return RoleChanges(registry, RouteTable(redis), AuditTrail(redis))


def put(registry: ModelRegistry, rolled_back: str = "", **roles: str) -> None:
    """Bring the registry into a state."""
    marked = {rolled_back: VersionTags(rolled_back="it was slow").written()} if rolled_back else {}
    bring_to(registry, MODEL, roles, marked)


def restore(registry: ModelRegistry, versions: list[Version]) -> None:
    """Restore roles and tags."""
    bring_to(
        registry,
        MODEL,
        {alias: version.version for version in versions for alias in version.aliases},
        {version.version: version.tags.raw for version in versions},
    )


def roles(registry: ModelRegistry) -> dict[str, str]:
    return roles_of(registry, MODEL)


def rolled_back(registry: ModelRegistry) -> dict[str, str]:
    return {
        v.version: v.tags.rolled_back
        for v in registry.versions(MODEL)
        if v.tags.rolled_back is not None
    }


def anchors(registry: ModelRegistry) -> dict[int, str]:
    return {
        sequence: value
        for version in registry.versions(MODEL)
        for sequence, value in version.tags.anchors.items()
    }


def change(key: str, why: str = "it is better") -> Change:
    return Change(key=key, who="Zoë", why=why, world_time=NOON)


# ---- the registry alone


@pytest.mark.parametrize(
    ("before", "version", "after"),
    [
        ({}, "1", {CHAMPION: "1"}),
        ({CHALLENGER: "1"}, "1", {CHAMPION: "1"}),
        ({CHAMPION: "1", CHALLENGER: "2"}, "2", {CHAMPION: "2", PREVIOUS_CHAMPION: "1"}),
        (
            {CHAMPION: "1", CHALLENGER: "3"},
            "2",
            {CHAMPION: "2", PREVIOUS_CHAMPION: "1", CHALLENGER: "3"},
        ),
        ({CHAMPION: "2", PREVIOUS_CHAMPION: "1"}, "2", {CHAMPION: "2", PREVIOUS_CHAMPION: "1"}),
        ({CHAMPION: "2", PREVIOUS_CHAMPION: "1"}, "1", {CHAMPION: "1", PREVIOUS_CHAMPION: "2"}),
        ({CHAMPION: "2", PREVIOUS_CHAMPION: "1"}, "3", {CHAMPION: "3", PREVIOUS_CHAMPION: "2"}),
        # A killed process left this while it promoted 2. Instead of a repetition, version 1 is
        # promoted.
        ({CHAMPION: "1", PREVIOUS_CHAMPION: "1"}, "1", {CHAMPION: "1"}),
    ],
)
def test_promotion_gives_the_role_and_remembers_who_had_it(
    registry: ModelRegistry, before: dict[str, str], version: str, after: dict[str, str]
) -> None:
    put(registry, **before)
    registry.promote(MODEL, version)
    assert roles(registry) == after


@pytest.mark.parametrize(
    ("before", "to", "rejected", "after", "marked"),
    [
        ({CHAMPION: "2", PREVIOUS_CHAMPION: "1"}, "1", "", {CHAMPION: "1"}, {"2"}),
        (
            {CHAMPION: "2", PREVIOUS_CHAMPION: "1", CHALLENGER: "3"},
            "1",
            "",
            {CHAMPION: "1", CHALLENGER: "3"},
            {"2"},
        ),
        (
            {CHAMPION: "3", PREVIOUS_CHAMPION: "2"},
            "1",
            "",
            {CHAMPION: "1", PREVIOUS_CHAMPION: "2"},
            {"3"},
        ),
        # A failed canary. It never was champion, and is no challenger any more.
        ({CHAMPION: "1", CHALLENGER: "2"}, "1", "2", {CHAMPION: "1"}, {"2"}),
        ({CHAMPION: "1", CHALLENGER: "3"}, "1", "2", {CHAMPION: "1", CHALLENGER: "3"}, {"2"}),
        # Its promotion was killed, then given up.
        (
            {CHAMPION: "1", PREVIOUS_CHAMPION: "1", CHALLENGER: "2"},
            "1",
            "2",
            {CHAMPION: "1"},
            {"2"},
        ),
        ({CHAMPION: "1"}, "1", "", {CHAMPION: "1"}, set()),
    ],
)
def test_rollback_takes_every_role_from_the_version_and_marks_it(
    registry: ModelRegistry,
    before: dict[str, str],
    to: str,
    rejected: str,
    after: dict[str, str],
    marked: set[str],
) -> None:
    put(registry, **before)
    registry.roll_back(MODEL, to, "too slow", rejected)
    assert roles(registry) == after
    assert rolled_back(registry) == dict.fromkeys(marked, "too slow")


def test_a_version_that_is_promoted_again_is_not_marked_any_more(registry: ModelRegistry) -> None:
    put(registry, champion="1", rolled_back="2")
    registry.promote(MODEL, "2")
    assert rolled_back(registry) == {}


@pytest.mark.parametrize("unknown", ["99", "no-number"])
def test_an_unknown_version_costs_nobody_a_role(registry: ModelRegistry, unknown: str) -> None:
    put(registry, champion="2", previous_champion="1")
    with pytest.raises(UnknownVersionError):
        registry.promote(MODEL, unknown)
    with pytest.raises(UnknownVersionError):
        registry.roll_back(MODEL, unknown, "why")
    with pytest.raises(UnknownVersionError):
        registry.set_alias(MODEL, CHAMPION, unknown)
    assert roles(registry) == {CHAMPION: "2", PREVIOUS_CHAMPION: "1"}


def test_taking_a_role_that_nobody_has_is_fine(registry: ModelRegistry) -> None:
    put(registry)
    registry.remove_alias(MODEL, CHALLENGER)
    assert roles(registry) == {}


def test_an_absent_mlflow_is_unavailable_and_says_so() -> None:
    registry = sealed_registry(f"http://127.0.0.1:{free_port()}", timeout_seconds=1, retries=0)
    for call in (
        lambda: registry.promote(MODEL, "1"),
        lambda: registry.roll_back(MODEL, "1", "why"),
        lambda: registry.remove_alias(MODEL, CHALLENGER),
        lambda: registry.models(),
    ):
        with pytest.raises(RegistryUnavailableError):
            call()


# ---- registry, route and trail together


def told(champions: RoleChanges) -> list[tuple[Any, ...]]:
    """Return the trail without values that differ between runs, such as wall times."""
    return [
        (e.sequence, e.kind, e.who, e.what, e.why, e.before, e.after, e.world_time)
        for e in champions.audit.entries()
    ]


def state(champions: RoleChanges) -> dict[str, object]:
    assert champions.audit.verify(anchors(champions.registry)).faults == ()
    return {
        "roles": roles(champions.registry),
        "rolled_back": rolled_back(champions.registry),
        "route": champions.routes.get(MODEL),
        "trail": told(champions),
        "anchored": sorted(anchors(champions.registry)),
    }


def test_a_champions_life(champions: RoleChanges) -> None:
    """A first version, a better one, back, back again, and a second chance for the old one."""
    first = champions.promote(MODEL, "1", change("a"))
    assert (first.strategy, first.arms) == ("champion", (Arm("champion", "1", 1.0),))
    second = champions.promote(MODEL, "2", change("b"))
    assert (second.strategy, second.arms) == (
        "blue_green",
        (Arm("champion", "2", 1.0), Arm("standby", "1", 0.0)),
    )
    back = champions.roll_back(MODEL, change("c", "too slow"))
    assert (back.strategy, back.arms, back.generation) == (
        "champion",
        (Arm("champion", "1", 1.0),),
        3,
    )
    assert (roles(champions.registry), rolled_back(champions.registry)) == (
        {CHAMPION: "1"},
        {"2": "too slow"},
    )
    with pytest.raises(NoPreviousChampionError):
        champions.roll_back(MODEL, change("d"))
    assert champions.routes.get(MODEL) == back, "and nothing was changed"
    champions.promote(MODEL, "2", change("e"))
    assert roles(champions.registry) == {CHAMPION: "2", PREVIOUS_CHAMPION: "1"}
    assert rolled_back(champions.registry) == {}
    kinds = [
        (e.kind, e.before and e.before.get("champion"), e.after.get("champion"))
        for e in champions.audit.entries()
    ]
    assert [row[1:] for row in kinds if row[0] == "alias"] == [
        (None, "1"),
        ("1", "2"),
        ("2", "1"),
        ("1", "2"),
    ]
    assert [row[0] for row in kinds] == ["alias", "route"] * 2 + ["route", "alias"] + [
        "alias",
        "route",
    ]
    assert sorted(anchors(champions.registry)) == [1, 3, 6, 7]
    assert champions.audit.verify(anchors(champions.registry)).faults == ()


def test_promoting_the_champion_again_says_nothing_new(champions: RoleChanges) -> None:
    champions.promote(MODEL, "1", change("a"))
    champions.promote(MODEL, "2", change("b"))
    before = state(champions)
    champions.promote(MODEL, "2", change("another"))
    champions.roll_back(MODEL, change("c"), to="1")
    champions.roll_back(MODEL, change("another one"), to="1")
    after = state(champions)
    assert after["trail"][: len(before["trail"])] == before["trail"]
    assert len(after["trail"]) == len(before["trail"]) + 2  # type: ignore[arg-type]


def test_a_role_that_was_moved_past_the_trail_is_told_as_it_was_found(
    champions: RoleChanges,
) -> None:
    champions.promote(MODEL, "1", change("a"))
    champions.registry.set_alias(MODEL, CHAMPION, "3")  # in MLflow's own page
    champions.promote(MODEL, "1", change("b"))
    newest = [entry for entry in champions.audit.entries() if entry.kind == "alias"][-1]
    assert (newest.before, newest.after["champion"]) == ({"champion": "3"}, "1")


def doomed(champions: RoleChanges, server: RedisServer, fate: Fate) -> RoleChanges:
    """Return the same platform for a process that will be killed."""

    redis = doomed_redis(server.url, fate)
    registry = sealed_registry(champions.registry.url)
    registry.api = DoomedMlflow(registry.api, fate)  # type: ignore[assignment]
    return RoleChanges(registry, RouteTable(redis), AuditTrail(redis))


Act = Callable[[RoleChanges], object]

LIVES: dict[str, tuple[dict[str, str], list[Act], Act]] = {
    "the first champion": ({CHALLENGER: "1"}, [], lambda c: c.promote(MODEL, "1", change("x"))),
    "a promotion": (
        {CHALLENGER: "2"},
        [lambda c: c.promote(MODEL, "1", change("a"))],
        lambda c: c.promote(MODEL, "2", change("x")),
    ),
    "a second chance": (
        {CHALLENGER: "3"},
        [
            lambda c: c.promote(MODEL, "1", change("a")),
            lambda c: c.promote(MODEL, "2", change("b")),
            lambda c: c.roll_back(MODEL, change("c"), to="1"),
        ],
        lambda c: c.promote(MODEL, "2", change("x"), keep_standby=False),
    ),
    "a rollback": (
        {},
        [
            lambda c: c.promote(MODEL, "1", change("a")),
            lambda c: c.promote(MODEL, "2", change("b")),
        ],
        lambda c: c.roll_back(MODEL, change("x", "too slow"), to="1"),
    ),
    "a failed canary": (
        {CHALLENGER: "2"},
        [
            lambda c: c.promote(MODEL, "1", change("a")),
            lambda c: c.route(
                MODEL,
                "canary",
                (Arm("champion", "1", 0.9), Arm("challenger", "2", 0.1)),
                change("b"),
                "salt",
            ),
        ],
        lambda c: c.roll_back(MODEL, change("x", "too slow"), to="1", rejected="2"),
    ),
}


@pytest.mark.parametrize("life", LIVES)
def test_killed_after_any_write_and_run_again_it_ends_the_same(
    champions: RoleChanges, server: RedisServer, life: str
) -> None:
    roles_before, past, act = LIVES[life]

    redis = connect_redis(server.url)
    put(champions.registry, **roles_before)
    for one in past:
        one(champions)
    versions = champions.registry.versions(MODEL)
    keys = {key: redis.dump(key) for key in redis.keys("*")}

    def begin() -> None:
        """Restore the state at the end of the past."""
        redis.flushdb()
        for key, content in keys.items():
            redis.restore(key, 0, content)
        restore(champions.registry, versions)

    act(champions)
    expected = state(champions)
    kills = 0
    while True:
        begin()
        try:
            act(doomed(champions, server, Fate(kills)))
        except KilledError:
            kills += 1
        else:
            break
        act(champions)
        assert state(champions) == expected, f"killed after write {kills}"
    assert kills >= 4, "the role, its entry, its anchor and the route"
    assert state(champions) == expected


class Outage:
    """MLflow's API. At its n-th request MLflow goes away for good."""

    def __init__(self, api: Any, after: int) -> None:
        self._api, self._left = api, after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise RegistryUnavailableError("MLflow did not answer: connection refused")
            return getattr(self._api, name)(*args, **kwargs)

        return call


def test_without_mlflow_no_version_gets_traffic_and_every_version_can_lose_it(
    champions: RoleChanges,
) -> None:
    champions.promote(MODEL, "1", change("a"))
    away = sealed_registry(f"http://127.0.0.1:{free_port()}", timeout_seconds=1, retries=0)
    without = RoleChanges(away, champions.routes, champions.audit)
    before = champions.routes.get(MODEL)
    with pytest.raises(RegistryUnavailableError):
        without.promote(MODEL, "2", change("b"))
    assert champions.routes.get(MODEL) == before
    champions.promote(MODEL, "2", change("b"))
    with pytest.raises(RegistryUnavailableError):
        without.roll_back(MODEL, change("c"), to="1")
    moved = champions.routes.get(MODEL)
    assert moved is not None
    assert [arm.version for arm in moved.arms] == ["1"]
    assert roles(champions.registry)[CHAMPION] == "2"
    champions.roll_back(MODEL, change("c"), to="1")  # MLflow is back
    assert roles(champions.registry) == {CHAMPION: "1"}
    assert champions.routes.get(MODEL) == moved


@pytest.mark.parametrize("life", ["a promotion", "a rollback"])
def test_mlflow_away_in_the_middle_is_an_error_and_repeating_it_is_enough(
    champions: RoleChanges, life: str
) -> None:
    roles_before, past, act = LIVES[life]
    put(champions.registry, **roles_before)
    for one in past:
        one(champions)
    api, failures = champions.registry.api, 0
    while True:
        champions.registry.api = Outage(api, failures)  # type: ignore[assignment]
        try:
            act(champions)
        except RegistryUnavailableError:
            failures += 1
        else:
            break
        finally:
            champions.registry.api = api
    assert failures > 5
    assert len([e for e in champions.audit.entries() if e.entry_id.startswith("x:")]) == 1
    assert champions.audit.verify(anchors(champions.registry)).faults == ()


# ---- routes


def test_who_decided_on_a_route_that_is_gone_is_told(champions: RoleChanges) -> None:
    champions.promote(MODEL, "1", change("a"))
    both = (Arm("champion", "1", 0.5), Arm("challenger", "2", 0.5))
    with pytest.raises(ConflictError, match="expected route generation 0, found 1"):
        champions.route(MODEL, "ab", both, change("b"), expected=0)
    assert champions.route(MODEL, "ab", both, change("b"), expected=1).generation == 2


def test_somebody_faster_wins_and_nothing_is_recorded_of_the_slower(
    champions: RoleChanges, server: RedisServer
) -> None:
    champions.promote(MODEL, "1", change("a"))

    class Slow(RouteTable):
        """Reads a route slowly. Before it answers, another writer has changed the route."""

        def read(self, model: str) -> Stored[Route]:
            found = super().read(model)
            champions.route(MODEL, "champion", (Arm("champion", "2", 1.0),), change("faster"))
            return found

    slow = RoleChanges(champions.registry, Slow(connect_redis(server.url)), champions.audit)
    before = len(told(champions))
    with pytest.raises(ConflictError):
        slow.route(MODEL, "champion", (Arm("champion", "3", 1.0),), change("slower"))
    current = champions.routes.get(MODEL)
    assert current is not None
    assert current.arms[0].version == "2"
    assert [row[4] for row in told(champions)[before:]] == ["it is better"]
    assert len(told(champions)) == before + 1


def test_a_route_that_was_lost_can_be_made_again(
    champions: RoleChanges, server: RedisServer
) -> None:
    first = champions.promote(MODEL, "1", change("a"))
    connect_redis(server.url).delete(f"dojo:route:{MODEL}")
    assert champions.promote(MODEL, "1", change("a")) == first
    assert champions.routes.get(MODEL) == first


def test_without_redis_nothing_is_promoted_in_silence(champions: RoleChanges) -> None:
    redis = connect_redis(f"redis://127.0.0.1:{free_port()}/0")
    without = RoleChanges(champions.registry, RouteTable(redis), AuditTrail(redis))
    with pytest.raises(RedisError):
        without.promote(MODEL, "1", change("a"))
    champions.promote(MODEL, "1", change("a"))
    assert [row[1] for row in told(champions)] == ["alias", "route"]
