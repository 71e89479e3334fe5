"""Decisions of people: promote, roll back, approve, route, switch, and read the trail.

Redis, MLflow and gateway are real.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from dojo.cli.app import build
from dojo.core.connections import connect_redis
from dojo.core.judging.gate.decision import GateVerdict
from dojo.core.lake import Lake
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import (
    CHAMPION,
    PREVIOUS_CHAMPION,
    ModelRegistry,
)
from dojo.core.state.audit import FIELD, STREAM_KEY, AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import Notice, Notifier
from dojo.core.state.loss import held_back
from dojo.core.state.responder_control import Control
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import RouteTable
from dojo.core.state.watch import StateWatch
from dojo.core.tasks.specs import load_spec
from pipelines.release.tracking import tracking_client
from services.responder.situation import Situation
from services.responder.state import Incident, LatestVerdict, ModelState
from tests.integration.dojo.cli.explaining import log_answers, write_regulated_spec
from tests.support.bundles import make_bundle
from tests.support.gateways import GatewayServer
from tests.support.registries import bring_to, roles_of, sealed_registry
from tests.support.servers import MlflowServer, RedisServer, free_port, wait_until

pytestmark = pytest.mark.integration

MODEL = "fraud_detection"
ROOT = Path(__file__).parents[4]
SPEC = load_spec(ROOT / "models" / f"{MODEL}.yaml")
NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)
VERDICTS: dict[str, GateVerdict] = {"2": "improved", "3": "worse"}  # of the versions at the gate


@dataclass(frozen=True)
class Platform:
    """One Redis, one MLflow with the trail's anchors, and the commands on them."""

    redis_server: RedisServer
    mlflow: MlflowServer
    registry: ModelRegistry
    commands: typer.Typer
    directory: Path
    tags: Mapping[str, Mapping[str, str]]  # version -> its tags, sealed

    @property
    def redis(self) -> Any:
        return connect_redis(self.redis_server.url)

    def run(self, *arguments: str, code: int = 0, answer: str = "", **environment: str) -> Result:
        env = {
            "DOJO_REDIS_URL": self.redis_server.url,
            "DOJO_MLFLOW_URL": self.mlflow.url,
            "DOJO_MODELS_DIR": str(ROOT / "models"),
            "DOJO_HOME": str(self.directory),
            "DOJO_GATEWAY_PORT": str(free_port()),
            "COLUMNS": "200",
            **environment,
        }
        done = CliRunner().invoke(self.commands, list(arguments), env=env, input=answer)
        assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
        return done

    def json(self, *arguments: str, **environment: str) -> Any:
        return json.loads(self.run(*arguments, "--json", **environment).stdout)

    @property
    def anchors(self) -> Path:
        """What the platform wrote down of its audit trail."""
        return self.directory / "audit" / "anchors.jsonl"

    def roles(self) -> dict[str, str]:
        return roles_of(self.registry, MODEL)

    def trail(self) -> list[tuple[str, str, str]]:
        return [(entry.kind, entry.who, entry.why) for entry in AuditTrail(self.redis).entries()]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("governance")
    redis, mlflow = RedisServer(directory), MlflowServer(directory)
    redis.start()
    mlflow.start()
    registry = sealed_registry(mlflow.url)
    for number in range(3):
        bundle = directory / f"bundle-{number}"
        sha256 = make_bundle(bundle, seed=number + 1)
        run = tracking_client(registry).create_run("0").info
        tracking_client(registry).log_artifacts(run.run_id, str(bundle), "bundle")
        verdict = VERDICTS.get(str(number + 1))
        registry.register(
            MODEL,
            run.run_id,
            f"{run.artifact_uri}/bundle",
            VersionTags(bundle_sha256=sha256, gate_verdict=verdict),
        )
    tags = {version.version: version.tags.raw for version in registry.versions(MODEL)}
    yield Platform(redis, mlflow, registry, build(), directory, tags)
    mlflow.stop()
    redis.stop()


@pytest.fixture
def platform(servers: Platform) -> Platform:
    """Start with version 1 as champion. Version 2 won at the gate, 3 did not.

    Nothing is routed or recorded. In the world it is noon.
    """
    servers.redis.flushdb()
    servers.anchors.unlink(missing_ok=True)
    RedisWorldClock(servers.redis).set(NOON, 0)
    bring_to(servers.registry, MODEL, {CHAMPION: "1"}, servers.tags)
    return servers


def promote(platform: Platform, number: str = "2", *more: str) -> Any:
    return platform.json(
        "models", "promote", f"{MODEL}@{number}", "--why", "it won", "--who", "Zoë", "--yes", *more
    )


def rolling_out(platform: Platform, approval: str = "none") -> Rollouts:
    rollouts = Rollouts(platform.redis)
    spec = SPEC.model_copy(
        update={"rollout": SPEC.rollout.model_copy(update={"approval": approval})}
    )
    rollouts.start(spec, "2", "1", NOON, "retraining", "it won", {})
    return rollouts


# ---- promote


def test_promotion_by_hand_changes_role_and_traffic_and_is_recorded(platform: Platform) -> None:
    done = promote(platform)
    assert (done["champion"], done["previous_champion"], done["route"]["strategy"]) == (
        "2",
        "1",
        "blue_green",
    )
    assert platform.roles() == {CHAMPION: "2", PREVIOUS_CHAMPION: "1"}
    assert platform.trail() == [("alias", "Zoë", "it won"), ("route", "Zoë", "it won")]
    (listed,) = (
        version for version in platform.json("models", "list") if version["version"] == "2"
    )
    assert (listed["aliases"], listed["gate"]) == (["champion"], "improved")


def test_it_asks_first_and_no_means_no(platform: Platform) -> None:
    refused = platform.run(
        "models", "promote", f"{MODEL}@2", "--why", "it won", answer="n\n", code=1
    )
    assert "version 2 becomes champion and gets all traffic; now it is 1" in refused.output
    assert (platform.roles(), platform.trail()) == ({CHAMPION: "1"}, [])
    platform.run("models", "promote", f"{MODEL}@2", "--why", "it won", answer="y\n")
    assert platform.roles()[CHAMPION] == "2"
    assert platform.trail()[0][1] not in ("", "Zoë"), "without --who it is the user of this machine"


@pytest.mark.parametrize("number", ["1", "3"])
def test_the_first_champion_needs_no_verdict(platform: Platform, number: str) -> None:
    platform.registry.remove_alias(MODEL, CHAMPION)
    assert promote(platform, number)["champion"] == number


def test_a_version_that_did_not_win_needs_force_and_the_trail_says_so(platform: Platform) -> None:
    refused = platform.run("models", "promote", f"{MODEL}@3", "--why", "hurry", "--yes", code=1)
    assert "version 3 did not win at the gate (worse)" in refused.stderr
    assert "--force" in refused.stderr
    assert (platform.roles(), platform.trail()) == ({CHAMPION: "1"}, [])
    promote(platform, "3", "--force")
    assert platform.trail()[0][2] == "it won (forced: version 3 did not win at the gate (worse))"


def test_a_version_that_was_rolled_back_needs_force_too(platform: Platform) -> None:
    platform.registry.tag(MODEL, "2", VersionTags(rolled_back="it was slow"))
    assert (
        "rolled back: it was slow"
        in platform.run("models", "promote", f"{MODEL}@2", "--why", "x", "-y", code=1).stderr
    )
    promote(platform, "2", "--force")
    assert platform.registry.get(MODEL, "2").tags.rolled_back is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("models", "promote", MODEL, "--why", "x"), 2, "expected MODEL@VERSION"),
        (("models", "promote", f"{MODEL}@champion", "--why", "x"), 2, "expected MODEL@VERSION"),
        (("models", "promote", f"{MODEL}@99", "--why", "x"), 1, "not in the registry"),
        (("models", "promote", f"{MODEL}@2", "--why", " "), 2, "--why is empty"),
        (("models", "rollback", MODEL, "--why", "x"), 1, "no version is its previous champion"),
        (("models", "rollback", MODEL, "--why", "x", "--to", "99"), 1, "not in the registry"),
        (
            ("models", "approve", MODEL, "--why", "x"),
            1,
            "nothing waits for approval (it has no rollout)",
        ),
        (("routes", "set", MODEL, "--strategy", "ab", "--why", "x"), 2, "needs a --challenger"),
        (
            ("routes", "set", MODEL, "--strategy", "champion", "--challenger", "2", "--why", "x"),
            2,
            "takes no --challenger",
        ),
        (
            (
                "routes",
                "set",
                MODEL,
                "--strategy",
                "shadow",
                "--challenger",
                "2",
                "--weight",
                "0.5",
                "--why",
                "x",
            ),
            2,
            "no --weight",
        ),
        (
            ("routes", "set", MODEL, "--strategy", "ab", "--challenger", "99", "--why", "x"),
            1,
            "not in the registry",
        ),
        (
            (
                "routes",
                "set",
                MODEL,
                "--strategy",
                "ab",
                "--challenger",
                "1",
                "--why",
                "x",
                "--yes",
            ),
            1,
            "differ in name and version",
        ),
        (
            ("routes", "set", "no_model", "--strategy", "champion", "--why", "x"),
            2,
            "no model no_model; there are fraud_detection",
        ),
        (("routes", "switch", MODEL, "--why", "x"), 1, "nothing is warm to switch to"),
        (("bandit", "show", MODEL), 1, "it never had a bandit"),
        (("bandit", "stop", MODEL, "--why", "x"), 1, "no bandit is active"),
        (("bandit", "start", MODEL, "--arms", "1,2", "--why", "x"), 1, "has no section bandit"),
        (("audit", "show", "1"), 1, "no readable entry 1"),
        (("experiment", "report", MODEL), 1, "its traffic was never split"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_and_changes_nothing(
    platform: Platform, arguments: tuple[str, ...], code: int, message: str
) -> None:
    refused = platform.run(*arguments, code=code)
    assert message in refused.stderr
    assert (platform.roles(), platform.trail(), RouteTable(platform.redis).get(MODEL)) == (
        {CHAMPION: "1"},
        [],
        None,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "promote", f"{MODEL}@2"),
        ("models", "rollback", MODEL),
        ("routes", "set", MODEL, "--strategy", "champion"),
        ("routes", "switch", MODEL),
    ],
)
def test_while_a_rollout_is_active_only_its_controller_decides(
    platform: Platform, arguments: tuple[str, ...]
) -> None:
    rolling_out(platform)
    refused = platform.run(*arguments, "--why", "x", "--yes", code=1)
    assert "version 2 is being rolled out (shadow)" in refused.stderr
    assert f"dojo rollout abort {MODEL}" in refused.stderr
    assert platform.trail() == []


# ---- roll back


def test_rollback_gives_back_traffic_and_role(platform: Platform) -> None:
    promote(platform)
    done = platform.json(
        "models", "rollback", MODEL, "--why", "declines doubled", "--who", "Zoë", "--yes"
    )
    assert (done["champion"], done["previous_champion"]) == ("1", None)
    assert [arm["version"] for arm in done["route"]["arms"]] == ["1"]
    assert "declines doubled" in platform.run("models", "show", f"{MODEL}@2").stdout
    assert platform.trail()[-1] == ("alias", "Zoë", "declines doubled")


def test_without_mlflow_traffic_moves_and_the_command_says_what_remains(platform: Platform) -> None:
    promote(platform)
    nowhere = f"http://127.0.0.1:{free_port()}"
    asked = platform.run(
        "models", "rollback", MODEL, "--why", "x", "--yes", code=1, DOJO_MLFLOW_URL=nowhere
    )
    assert "--to 1 (the gateway has it at hand)" in asked.stderr
    moved = platform.run(
        "models",
        "rollback",
        MODEL,
        "--to",
        "1",
        "--why",
        "x",
        "--yes",
        code=1,
        DOJO_MLFLOW_URL=nowhere,
    )
    assert "traffic is with version 1 now; its role could not be changed" in moved.stderr
    assert f"dojo models rollback {MODEL} --to 1" in moved.stderr
    route = RouteTable(platform.redis).get(MODEL)
    assert route is not None
    assert [arm.version for arm in route.arms] == ["1"]
    assert platform.roles()[CHAMPION] == "2"
    platform.run("models", "rollback", MODEL, "--to", "1", "--why", "x", "--yes")
    assert platform.roles() == {CHAMPION: "1"}
    assert RouteTable(platform.redis).get(MODEL) == route


# ---- approve


def test_approval_is_recorded_with_who_and_why_and_the_rollout_is_asked_to_begin(
    platform: Platform,
) -> None:
    rollouts = rolling_out(platform, approval="required")
    done = platform.json(
        "models", "approve", MODEL, "--why", "reviewed the segments", "--who", "Zoë"
    )
    approval = {"who": "Zoë", "when": "2030-03-01T12:00:00Z", "why": "reviewed the segments"}
    assert {name: done[name] for name in approval} == approval
    assert msgspec.to_builtins(platform.registry.get(MODEL, "2").tags.approval) == approval
    assert platform.json("models", "show", f"{MODEL}@2")["approval"] == approval
    rollout = rollouts.get(MODEL)
    assert rollout is not None
    assert rollout.request is not None
    assert (rollout.request.action, rollout.request.who, rollout.request.why) == (
        "approve",
        "Zoë",
        "reviewed the segments",
    )
    assert platform.trail() == [("approval", "Zoë", "reviewed the segments")]
    # Another person asks again before the controller took the approval. The decision stays Zoë's.
    platform.run("models", "approve", MODEL, "--why", "me too", "--who", "Yann")
    assert platform.trail() == [("approval", "Zoë", "reviewed the segments")]
    assert msgspec.to_builtins(platform.registry.get(MODEL, "2").tags.approval) == approval


def test_the_person_who_proposed_a_version_cannot_approve_it(
    platform: Platform, logged: dict[str, float]
) -> None:
    rolling_out(platform, approval="required")  # proposed by "retraining"
    refused = platform.run(
        "rollout", "approve", MODEL, "--why", "mine", "--who", "Retraining ", code=1
    )
    assert "has proposed version 2, so another person must approve it" in refused.stderr
    platform.registry.tag(MODEL, "2", VersionTags(proposed_by="Zoë"))
    renamed = platform.run("rollout", "approve", MODEL, "--why", "mine", "--who", "Yann", code=1)
    assert "is not what was sealed" in renamed.stderr, "the seal covers who proposed it"
    platform.registry.seal(platform.registry.get(MODEL, "2"))
    refused = platform.run("rollout", "approve", MODEL, "--why", "mine", "--who", "zoë", code=1)
    assert "another person must approve it" in refused.stderr
    assert platform.trail() == []
    platform.run("rollout", "approve", MODEL, "--why", "reviewed", "--who", "Yann")
    assert platform.trail() == [("approval", "Yann", "reviewed")]


def test_a_first_version_that_needs_approval_gets_it_from_another_person(
    platform: Platform, logged: dict[str, float]
) -> None:
    rules = {"DOJO_MODELS_DIR": str(platform.directory / "regulated")}
    platform.registry.remove_alias(MODEL, CHAMPION)
    platform.registry.tag(MODEL, "3", VersionTags(proposed_by="Zoë"))
    platform.registry.seal(platform.registry.get(MODEL, "3"))
    words = ("models", "promote", f"{MODEL}@3", "--why", "it is fair", "--yes", "--force")
    refused = platform.run(*words, "--who", "Zoë", code=1, **rules)
    assert "Zoë has proposed version 3, so another person must approve it" in refused.stderr
    assert (platform.roles(), platform.trail()) == ({}, [])
    platform.run(*words, "--who", "Yann", **rules)
    assert platform.roles() == {CHAMPION: "3"}
    approval = platform.json("models", "show", f"{MODEL}@3")["approval"]
    assert (approval["who"], approval["why"]) == ("Yann", "it is fair")


def test_approval_without_mlflow_begins_nothing_and_can_be_repeated(platform: Platform) -> None:
    rollouts = rolling_out(platform, approval="required")
    nowhere = f"http://127.0.0.1:{free_port()}"
    platform.run("models", "approve", MODEL, "--why", "reviewed", code=1, DOJO_MLFLOW_URL=nowhere)
    rollout = rollouts.get(MODEL)
    assert rollout is not None
    assert rollout.request is None
    platform.run("models", "approve", MODEL, "--why", "reviewed")
    assert len(platform.trail()) == 1


def test_what_does_not_wait_cannot_be_approved(platform: Platform) -> None:
    rolling_out(platform)
    refused = platform.run("models", "approve", MODEL, "--why", "x", code=1)
    assert "nothing waits for approval (version 2 is shadow)" in refused.stderr


# ---- routes


@pytest.mark.parametrize(
    ("options", "strategy", "arms"),
    [
        (("champion",), "champion", [("champion", "1", 1.0, "live")]),
        (
            ("blue-green", "2"),
            "blue_green",
            [("champion", "1", 1.0, "live"), ("standby", "2", 0.0, "live")],
        ),
        (("ab", "2"), "ab", [("champion", "1", 0.5, "live"), ("challenger", "2", 0.5, "live")]),
        (
            ("canary", "2", "0.05"),
            "canary",
            [("champion", "1", 0.95, "live"), ("challenger", "2", 0.05, "live")],
        ),
        (
            ("shadow", "3"),
            "shadow",
            [("champion", "1", 1.0, "live"), ("challenger", "3", 0.0, "shadow")],
        ),
    ],
)
def test_each_strategy_has_its_arms_and_roles_stay(
    platform: Platform, options: tuple[str, ...], strategy: str, arms: list[tuple[object, ...]]
) -> None:
    named = dict(zip(("--strategy", "--challenger", "--weight"), options, strict=False))
    route = set_route(platform, named)
    assert route["strategy"] == strategy
    assert [tuple(arm.values()) for arm in route["arms"]] == arms
    assert platform.roles() == {CHAMPION: "1"}
    assert platform.trail() == [("route", "Zoë", "to see")]


def set_route(platform: Platform, options: Mapping[str, str]) -> Any:
    given = [word for pair in options.items() for word in pair]
    return platform.json(
        "routes", "set", MODEL, *given, "--why", "to see", "--who", "Zoë", "--yes"
    )["route"]


def test_a_new_experiment_has_new_groups_and_a_growing_canary_keeps_its_own(
    platform: Platform,
) -> None:
    ab = {"--strategy": "ab", "--challenger": "2"}
    first = set_route(platform, ab)
    assert set_route(platform, ab) == first, "nothing to change"
    set_route(platform, {"--strategy": "champion"})
    assert set_route(platform, ab)["salt"] != first["salt"]
    canary = {"--strategy": "canary", "--challenger": "2", "--weight": "0.05"}
    small = set_route(platform, canary)
    assert small["salt"] != first["salt"]
    assert set_route(platform, {**canary, "--weight": "0.2"})["salt"] == small["salt"]
    assert set_route(platform, {**canary, "--challenger": "3"})["salt"] != small["salt"]


def test_blue_and_green_are_switched_and_back_while_roles_stay(platform: Platform) -> None:
    promote(platform)
    there = platform.run("routes", "switch", MODEL, "--why", "slow at noon", "--yes")
    assert "the registry's champion is still 2" in " ".join(there.stdout.split())
    assert f"dojo models promote {MODEL}@1" in there.stdout
    route = RouteTable(platform.redis).get(MODEL)
    assert route is not None
    assert [(arm.name, arm.version, arm.weight) for arm in route.arms] == [
        ("champion", "1", 1.0),
        ("standby", "2", 0.0),
    ]
    back = platform.json(
        "routes",
        "switch",
        MODEL,
        "--why",
        "it was the network",
        "--yes",
        DOJO_MLFLOW_URL="http://127.0.0.1:1",
    )
    assert [arm["version"] for arm in back["route"]["arms"]] == ["2", "1"]
    assert platform.roles() == {CHAMPION: "2", PREVIOUS_CHAMPION: "1"}


def test_a_route_that_changed_while_somebody_was_asked_is_not_overwritten(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def somebody_is_faster(*_: object, **__: object) -> bool:
        set_route(platform, {"--strategy": "shadow", "--challenger": "3"})
        return True

    set_route(platform, {"--strategy": "champion"})
    with monkeypatch.context() as patched:
        patched.setattr("typer.confirm", somebody_is_faster)
        arguments = ("routes", "set", MODEL, "--strategy", "ab", "--challenger", "2", "--why", "x")
        refused = platform.run(*arguments, code=1)
    assert "expected route generation 1, found 2" in refused.stderr
    route = RouteTable(platform.redis).get(MODEL)
    assert route is not None
    assert route.strategy == "shadow"


@pytest.fixture
def rewarded(platform: Platform, tmp_path: Path) -> dict[str, str]:
    """Return the environment of commands whose model has the banner's bandit."""
    banner = (ROOT / "models" / "banner.yaml").read_text()
    section = banner[banner.index("bandit:") : banner.index("data:")]
    spec = (ROOT / "models" / f"{MODEL}.yaml").read_text()
    (tmp_path / f"{MODEL}.yaml").write_text(f"{spec}\n{section}")
    return {"DOJO_MODELS_DIR": str(tmp_path)}


@pytest.mark.parametrize(
    ("arms", "code", "message"),
    [
        ("2,3", 2, "the champion's 1 among them"),
        ("1", 2, "name different versions"),
        ("1,1", 2, "name different versions"),
        ("1,99", 1, "not in the registry"),
        (",".join(map(str, range(1, 40))), 1, "not in the registry"),
    ],
)
def test_a_bandit_needs_versions_that_can_compete(
    platform: Platform, rewarded: dict[str, str], arms: str, code: int, message: str
) -> None:
    refused = platform.run(
        "bandit", "start", MODEL, "--arms", arms, "--why", "x", code=code, **rewarded
    )
    assert message in refused.stderr
    assert platform.trail() == []


def test_a_bandit_is_started_paused_and_stopped_by_people(
    platform: Platform, rewarded: dict[str, str]
) -> None:
    def bandit(*words: str) -> Any:
        return platform.json("bandit", *words, "--why", "to see", "--who", "Zoë", **rewarded)

    begun = bandit("start", MODEL, "--arms", "2,1", "--policy", "epsilon-greedy")
    assert (begun["policy"], begun["draw"]["sticky"]) == ("epsilon_greedy", False)
    assert [(arm["name"], arm["version"]) for arm in begun["arms"]] == [
        ("champion", "1"),
        ("challenger", "2"),
    ]
    again = platform.run(
        "bandit", "start", MODEL, "--arms", "1,3", "--why", "x", code=1, **rewarded
    )
    assert f"dojo bandit stop {MODEL}" in again.stderr
    assert bandit("pause", MODEL)["paused_by"] == "Zoë"
    assert bandit("resume", MODEL)["paused_by"] == ""
    assert "epsilon_greedy since" in platform.run("bandit", "show", MODEL, **rewarded).stdout
    assert bandit("stop", MODEL)["ended_why"] == "stopped by Zoë: to see"
    assert platform.trail() == [("bandit", "Zoë", "to see")] * 4
    rolling_out(platform)
    refused = platform.run(
        "bandit", "start", MODEL, "--arms", "1,2", "--why", "x", code=1, **rewarded
    )
    assert "its controller decides about traffic" in " ".join(refused.stderr.split())


def test_show_says_what_the_gateway_really_serves_and_where_they_disagree(
    platform: Platform, tmp_path: Path
) -> None:
    gateway = GatewayServer(tmp_path, platform.redis_server.url, platform.mlflow.url)
    gateway.start()
    try:
        port = {"DOJO_GATEWAY_PORT": str(gateway.port)}
        wait_until(
            lambda: platform_serves(gateway, "1"),
            60,
            f"the gateway serves the champion; see {gateway.log}",
        )
        assert platform.json("routes", "show", MODEL, **port)["notes"] == []
        assert (
            "the registry's champion serves (generation 0)"
            in platform.run("routes", "show", MODEL, **port).stdout
        )
        promote(platform)
        wait_until(
            lambda: platform_serves(gateway, "2"),
            60,
            f"the gateway serves version 2; see {gateway.log}",
        )
        platform.run("routes", "switch", MODEL, "--why", "to see", "--yes", **port)
        wait_until(lambda: platform_serves(gateway, "1"), 10, "the gateway switches")
        shown = platform.json("routes", "show", MODEL, **port)
        assert shown["gateway"]["route"]["generation"] == shown["route"]["generation"] == 2
        assert shown["notes"] == ["most traffic goes to version 1, the registry's champion is 2"]
    finally:
        gateway.stop()
    shown = platform.run("routes", "show", MODEL)
    assert "gateway: does not answer" in shown.stdout
    assert "to see" in shown.stdout
    assert "blue_green" in platform.run("routes", "list").stdout


def platform_serves(gateway: GatewayServer, version: str) -> bool:
    return bool(gateway.health()["models"].get(MODEL, {}).get("version") == version)


# ---- audit and alerts


def test_the_trail_is_listed_shown_and_verified(platform: Platform) -> None:
    assert "Nothing was changed yet" in platform.run("audit", "list").stdout
    promote(platform)
    platform.run("routes", "switch", MODEL, "--why", "[red]slow[/]", "--who", "Yann", "--yes")
    listed = platform.run("audit", "list").stdout
    for words in ("2030-03-01 12:00", "Zoë", "version 2 became champion", "it won", "[red]slow[/]"):
        assert words in listed
    assert [entry["sequence"] for entry in platform.json("audit", "list", "--limit", "2")] == [2, 3]
    assert [entry["kind"] for entry in platform.json("audit", "list", "--kind", "alias")] == [
        "alias"
    ]
    assert platform.json("audit", "list", "--model", "other") == []
    shown = platform.json("audit", "show", "1")
    assert (shown["before"], shown["after"]["champion"]) == ({"champion": "1"}, "2")
    assert "became champion" in platform.run("audit", "show", "1").stdout
    found = platform.json("audit", "verify")
    assert found == {
        "entries": 3,
        "recorded": 1,
        "anchors": 1,
        "without_registry": False,
        "faults": [],
    }
    alone = platform.run("audit", "verify", DOJO_MLFLOW_URL=f"http://127.0.0.1:{free_port()}")
    assert (
        "3 entries, against 1 anchors that the platform recorded and 0 in the registry"
        in alone.stdout
    )
    assert "anchors were not checked" in alone.stderr


def test_a_forged_trail_fails_verification(platform: Platform) -> None:
    promote(platform)
    rows = platform.redis.xrange(STREAM_KEY)
    platform.redis.delete(STREAM_KEY)
    for message_id, fields in rows:
        platform.redis.xadd(
            STREAM_KEY, {FIELD: fields[FIELD].replace("Zoë".encode(), b"Zoe!")}, id=message_id
        )
    failed = platform.run("audit", "verify", code=1)
    assert "entry 2: does not follow entry 1" in failed.stdout
    assert "entry 1: the registry remembers" in failed.stdout
    failed = platform.run("audit", "verify", "--json", code=1)
    assert len(json.loads(failed.stdout)["faults"]) == 4


def test_a_trail_that_was_wiped_is_missed_by_the_registry(platform: Platform) -> None:
    promote(platform)
    platform.redis.flushdb()
    failed = platform.run("audit", "verify", code=1)
    assert "found nothing" in failed.stdout
    assert (
        "0 entries, against 1 anchors that the platform recorded and 1 in the registry: 2 faults"
        in failed.stdout
    )


def test_anchors_that_are_changed_or_removed_in_mlflow_hide_nothing(platform: Platform) -> None:
    promote(platform)
    (entry,) = [entry for entry in platform.json("audit", "list") if entry["kind"] == "alias"]
    platform.registry.tag(MODEL, "2", VersionTags(anchors={entry["sequence"]: "0" * 64}))
    failed = platform.run("audit", "verify", code=1)
    assert (
        "its anchor in the registry was changed to 000000000000; the entry is as it was written"
        in failed.stdout
    )

    tracking_client(platform.registry).delete_model_version_tag(
        MODEL, "2", f"audit.{entry['sequence']}"
    )
    assert platform.json("audit", "verify")["faults"] == []
    platform.redis.flushdb()  # the trail goes, and with it each trace in Redis and MLflow
    failed = platform.run("audit", "verify", code=1)
    assert f"entry {entry['sequence']}: the platform recorded" in failed.stdout


@pytest.mark.parametrize(
    "tags", [VersionTags(gate_verdict="improved"), VersionTags(bundle_sha256="0" * 64)]
)
def test_a_version_whose_record_was_changed_in_mlflow_is_neither_promoted_nor_rolled_out(
    platform: Platform, tags: VersionTags
) -> None:
    """Version 3 lost at the gate: who reaches MLflow's port says otherwise."""
    platform.registry.tag(MODEL, "3", tags)
    before = platform.roles(), platform.trail()
    for words in (("models", "promote"), ("rollout", "start")):
        forced = ("--force", *(("--yes",) if words[0] == "models" else ()))
        target = (f"{MODEL}@3",) if words[0] == "models" else (MODEL, "3")
        refused = platform.run(*words, *target, "--why", "it won", *forced, code=1)
        assert f"the record of {MODEL}@3 in MLflow is not what was sealed" in refused.stderr
        assert f"dojo models seal {MODEL}@3" in refused.stderr
    assert (platform.roles(), platform.trail()) == before
    assert platform.json("models", "show", f"{MODEL}@3")["seal_fault"]


def test_a_person_can_vouch_for_a_version_whose_bundle_is_what_its_record_says(
    platform: Platform,
) -> None:
    tracking_client(platform.registry).delete_model_version_tag(MODEL, "2", "seal")
    assert "has no seal" in platform.json("models", "show", f"{MODEL}@2")["seal_fault"]
    platform.json(
        "models", "seal", f"{MODEL}@2", "--why", "of before seals", "--who", "Zoë", "--yes"
    )
    assert platform.json("models", "show", f"{MODEL}@2")["seal_fault"] is None
    assert ("approval", "Zoë", "of before seals") in platform.trail()
    promote(platform)

    platform.registry.tag(MODEL, "3", VersionTags(bundle_sha256="0" * 64))
    refused = platform.run("models", "seal", f"{MODEL}@3", "--why", "a try", "--yes", code=1)
    assert "SHA-256 is" in refused.stderr
    assert platform.json("models", "show", f"{MODEL}@3")["seal_fault"]


# ---- restore


def test_a_loss_of_redis_is_shown_and_answered_and_the_trail_knows_roles_and_route_again(
    platform: Platform,
) -> None:
    promote(platform)
    watch = StateWatch(platform.redis, platform.directory / "responder" / "redis.json", [MODEL])
    watch.look()
    platform.redis.flushdb()
    assert watch.look() is not None

    shown = platform.run("restore", "--why", "I looked", answer="n\n", code=1)
    for part in (
        "the clock",
        f"the route of {MODEL}",
        "2 of 2 audit entries",
        "champion 2",
        "blue_green: champion 2 1",
    ):
        assert part in shown.stderr
    assert held_back(platform.redis), "no means no"

    platform.json("restore", "--why", "I looked", "--who", "Zoë", "--yes")
    assert held_back(platform.redis) == ""
    assert watch.look() is None
    assert platform.trail()[1:] == [
        ("alias", "Zoë", "I looked"),
        ("route", "Zoë", "I looked (made by Zoë: it won; earlier entries are lost)"),
        ("world", "Zoë", "I looked"),
    ]
    routes, rollouts = RouteTable(platform.redis), Rollouts(platform.redis)
    situation = Situation(routes, rollouts, AuditTrail(platform.redis))
    found = situation.look(_critical(), Control(), NOON)
    assert (found.serving, found.previous, found.traffic_since) == (
        "2",
        "1",
        NOON,
    ), "a rollback is possible again"
    assert (
        "nothing that waits for an answer" in platform.run("restore", "--why", "x", code=1).stderr
    )


def _critical() -> ModelState:
    """A state whose circumstances are asked for in full."""
    seen = LatestVerdict(verdict="v", start=NOON, judged=NOON, severity="critical", summary="s")
    incident = Incident(
        id="i", version="2", check="performance", since=NOON, windows={"hour": seen}
    )
    return ModelState(model=MODEL, troubles={incident.key: incident})


def test_alerts_are_listed_newest_last_and_by_urgency(platform: Platform) -> None:
    assert "There are no messages yet" in platform.run("alerts").stdout
    for number, urgency in enumerate(("info", "page", "info")):
        notice = Notice(str(number), urgency, f"occasion [{number}]", "what happened\nwhat to do")
        Notifier(platform.redis, "test").tell(
            "payments-risk", MODEL, notice, NOON + timedelta(hours=number)
        )
    assert [one["message_id"] for one in platform.json("alerts", "--limit", "2")] == ["1", "2"]
    assert [one["message_id"] for one in platform.json("alerts", "--urgency", "page")] == ["1"]
    shown = platform.run("alerts").stdout
    assert shown.index("occasion [0]") < shown.index("occasion [2]")
    assert "    what to do" in shown


def test_alerts_of_a_source_are_all_its_channels_and_an_end_is_shown_as_one(
    platform: Platform,
) -> None:
    for source, title in (
        ("rollout", "version 2 is taken back"),
        ("alertmanager/chat", "features are stale"),
        ("alertmanager/pager", "resolved: the gateway is down"),
        ("alertmanagers", "another part"),
    ):
        Notifier(platform.redis, source).tell(
            "ml-platform", "gateway", Notice(title, "info", title, ""), world_time=None
        )
    assert [one["source"] for one in platform.json("alerts", "--source", "alertmanager")] == [
        "alertmanager/chat",
        "alertmanager/pager",
    ]
    assert [one["title"] for one in platform.json("alerts", "--source", "alertmanager/chat")] == [
        "features are stale"
    ]
    shown = platform.run("alerts", "--source", "alertmanager").stdout
    assert (
        "resolved  alertmanager/pager: gateway -> ml-platform  resolved: the gateway is down"
        in shown
    )
    assert "No such message." in platform.run("alerts", "--source", "nobody").stdout


# ---- explain


@pytest.fixture(scope="module")
def logged(servers: Platform) -> dict[str, float]:
    write_regulated_spec(servers.directory / "regulated", MODEL)
    return log_answers(servers.directory, servers.directory / "bundle-0", MODEL, NOON)


def test_an_answer_is_explained_exactly_from_its_row_and_the_version_that_gave_it(
    platform: Platform, logged: dict[str, float]
) -> None:
    platform.registry.set_alias(MODEL, CHAMPION, "2")
    for answer in ("p0", "p1"):
        found = platform.json("explain", answer)
        parts = [one["adds"] for one in found["contributions"]]
        assert found["base"] + sum(parts) == pytest.approx(found["total"], abs=1e-12)
        implied = 1 / (1 + math.exp(-found["total"]))
        assert implied == pytest.approx(logged[answer], abs=1e-6)
        assert abs(parts[0]) == max(abs(part) for part in parts) > 0.1
        assert found["version"] == "1", "and not the champion of today"
        assert found["letter"] == "", "the model is not regulated"
    shown = platform.run("explain", "r0").stdout
    assert f"{MODEL}@1" in shown
    assert "log-odds" in shown


def test_a_refused_person_reads_at_most_four_reasons_and_how_to_ask_for_a_review(
    platform: Platform, logged: dict[str, float]
) -> None:
    rules = {"DOJO_MODELS_DIR": str(platform.directory / "regulated")}
    refused = platform.json("explain", "p0", **rules)["letter"]
    assert refused.startswith("We cannot grant this.")
    assert refused.endswith("Ask for a person at desk@shop.example.")
    reasons = [line for line in refused.splitlines() if line.startswith("- ")]
    assert 1 <= len(reasons) <= 4
    assert len(set(reasons)) == len(reasons)
    assert "wall_time" not in refused
    assert platform.run("explain", "p0", "--letter", **rules).stdout.strip() == refused
    assert platform.json("explain", "p1", **rules)["letter"] == ""


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("p2", "no version gave this answer. It is the fallback of fraud_detection"),
        ("p3", "version 99 gave the answer, and the registry has it no more"),
        ("p9", "the lake has no such answer"),
    ],
)
def test_an_answer_that_cannot_be_explained_says_why(
    platform: Platform, logged: dict[str, float], answer: str, says: str
) -> None:
    assert says in platform.run("explain", answer, code=1).stderr


def test_a_version_that_did_not_give_the_logged_score_explains_nothing(
    platform: Platform, logged: dict[str, float]
) -> None:
    lake = Lake(platform.directory / "lake")
    row = lake.scan("predictions").filter(pl.col("prediction_id") == "p0").collect()
    wrong = row.with_columns(
        prediction_id=pl.lit("p4"), request_id=pl.lit("r4"), version=pl.lit("2")
    )
    lake.write("predictions", wrong, "part-1")
    refused = platform.run("explain", "p4", code=1).stderr
    assert "the trees of version 2 give" in refused
    assert "they do not explain it" in refused
