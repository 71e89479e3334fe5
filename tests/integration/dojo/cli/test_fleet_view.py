"""`dojo models` on a real Redis: the worst first, what is wrong, what is done about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from redis import Redis
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.core.events.types import Check, Verdict
from dojo.core.judging.rollout.stages import Stage
from dojo.core.settings import load_settings
from dojo.core.severity import Severity
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.error_budget import budget_key, count_field
from dojo.core.state.responder_control import switch_pause
from dojo.core.state.rollouts import Rollout, Rollouts, Transition
from dojo.core.state.routes import Arm, Route, RouteTable
from dojo.stack.doctor_checks import DoctorVerdict, specs
from services.monitor.judging.records import MonitorRecords, judgement
from services.responder.state import Incident, LatestVerdict, ModelState, StateStore
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MODELS = ("calm", "broken", "new")

Dojo = Callable[..., str]


@pytest.fixture
def redis(redis_server: RedisServer) -> Redis:
    return Redis.from_url(redis_server.url)


@pytest.fixture
def dojo(redis_server: RedisServer, tmp_path: Path) -> Dojo:
    """A platform with three models: one route each, but none for the new one."""
    models = tmp_path / "models"
    models.mkdir()
    spec = yaml.safe_load(Path("models", "fraud_detection.yaml").read_text())
    for name in MODELS:
        text = yaml.safe_dump({**spec, "name": name, "owner": f"team of {name}"})
        (models / f"{name}.yaml").write_text(text)
    environment = {
        "DOJO_REDIS_URL": redis_server.url,
        "DOJO_MODELS_DIR": str(models),
        "DOJO_HOME": str(tmp_path / "home"),
        "COLUMNS": "200",
    }

    def run(*arguments: str, command: str = "models") -> str:
        done = CliRunner().invoke(build(), [command, *arguments], env=environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def fleet(dojo: Dojo) -> dict[str, dict[str, Any]]:
    return {one["model"]: one for one in json.loads(dojo("--json"))}


def give_route(redis: Redis, model: str, *arms: Arm) -> None:
    table = RouteTable(redis)
    route = Route(
        model=model,
        generation=1,
        strategy="champion" if len(arms) == 1 else "canary",
        arms=arms,
        salt="s",
        changed_at=NOW,
        who="a test",
        why="a test",
    )
    table.replace(table.read(model), route)


def judge(
    redis: Redis, model: str, version: str, check: Check, severity: Severity, summary: str = "so"
) -> None:
    verdict = Verdict(
        event_id=f"{model}-{version}-{check}",
        world_time=NOW,
        wall_time=NOW,
        model=model,
        version=version,
        check=check,
        window="hour",
        window_start=NOW - HOUR,
        severity=severity,
        rows=100,
        summary=summary,
        since=NOW - HOUR if severity in ("warning", "severe", "critical") else None,
    )
    with redis.pipeline() as pipe:
        MonitorRecords(redis, 1000).write(pipe, [judgement(verdict, {}, None, late=False)], [])
        pipe.execute()


def test_the_worst_comes_first_and_a_model_without_a_version_is_worst(
    redis: Redis, dojo: Dojo
) -> None:
    for model in ("calm", "broken"):
        give_route(redis, model, Arm("champion", "3", 1.0))
        judge(redis, model, "3", "data_quality", "ok")
    judge(redis, "broken", "3", "input_drift", "severe", "amount PSI 0.22")
    judge(redis, "broken", "-", "feature_freshness", "warning", "customer_daily")
    found = fleet(dojo)
    assert list(found) == ["new", "broken", "calm"]
    assert {name: one["severity"] for name, one in found.items()} == {
        "new": "critical",
        "broken": "severe",
        "calm": "ok",
    }
    assert found["new"]["wrong"] == "no version yet: the fallback answers"
    assert found["broken"]["owner"] == "team of broken"
    assert found["broken"]["wrong"] == (
        "input_drift of version 3: amount PSI 0.22, since 2026-01-05 11:00"
    )
    assert (found["calm"]["wrong"], found["calm"]["doing"]) == ("", "")
    shown = dojo()
    assert shown.index("new") < shown.index("broken") < shown.index("calm")
    assert "◆ severe" in shown


def test_versions_without_traffic_do_not_count_and_arms_are_shown_with_their_shares(
    redis: Redis, dojo: Dojo
) -> None:
    give_route(redis, "calm", Arm("champion", "3", 0.9), Arm("challenger", "4", 0.1))
    judge(redis, "calm", "2", "performance", "critical")
    give_route(
        redis,
        "broken",
        Arm("champion", "4", 1.0),
        Arm("old", "3", 0.0),
        Arm("next", "5", 0.0, "shadow"),
    )
    judge(redis, "broken", "3", "model_freshness", "critical")  # kept warm, and it is old
    judge(redis, "broken", "5", "input_drift", "severe")
    judge(redis, "broken", "4", "input_drift", "ok")
    judge(redis, "calm", "4", "input_drift", "ok")
    calm = fleet(dojo)["calm"]
    assert calm["serving"] == "3 90%, 4 10%"
    assert calm["severity"] == "ok"
    broken = fleet(dojo)["broken"]
    assert (broken["serving"], broken["severity"]) == ("4", "ok")


def test_without_a_verdict_nothing_is_called_ok(redis: Redis, dojo: Dojo) -> None:
    give_route(redis, "calm", Arm("champion", "3", 1.0))
    calm = fleet(dojo)["calm"]
    assert (calm["severity"], calm["wrong"]) == ("insufficient_data", "nothing was judged yet")


def test_a_spent_error_budget_is_named_and_only_at_its_model(redis: Redis, dojo: Dojo) -> None:
    RedisWorldClock(redis).set(NOW, 0.0)
    for model in ("calm", "broken"):
        give_route(redis, model, Arm("champion", "3", 1.0))
    for count, number in (("requests", 1_000), ("errors", 100)):
        redis.hset(budget_key("broken"), count_field(NOW.date(), count), str(number))
    for count in ("answers", "slow"):  # an objective that stops none of these models
        redis.hset(budget_key("calm"), count_field(NOW.date(), count), "1000")
    found = fleet(dojo)
    assert found["broken"]["doing"] == "error budget spent: rollouts wait"
    assert found["calm"]["doing"] == ""
    roll_out(redis, "broken", Stage.CANARY, "waits")
    said = "error budget spent: rollouts wait; rollout of version 4: canary"
    assert fleet(dojo)["broken"]["doing"] == said
    assert "canary (error budget spent: rollouts wait)" in dojo("list", command="rollout")
    shown = dojo("show", "broken", command="rollout")
    assert "until it is back, or dojo rollout resume broken --why" in shown


def test_it_says_what_is_done_or_why_nothing_is_done(redis: Redis, dojo: Dojo) -> None:
    give_route(redis, "broken", Arm("champion", "3", 1.0))
    judge(redis, "broken", "3", "input_drift", "critical")
    assert fleet(dojo)["broken"]["doing"] == ""

    latest = LatestVerdict(verdict="v", start=NOW, judged=NOW, severity="critical", summary="so")
    trouble = Incident(
        id="v", version="3", check="input_drift", since=NOW, windows={"hour": latest}
    )
    store = StateStore(redis)
    known = store.save(ModelState(model="broken").with_trouble(trouble))
    assert fleet(dojo)["broken"]["doing"] == "its owner was told"

    held = Incident(
        id="v",
        version="3",
        check="input_drift",
        since=NOW,
        windows={"hour": latest},
        held="cooldown",
    )
    store.save(known.with_trouble(held))
    assert fleet(dojo)["broken"]["doing"] == "nothing: cooldown"

    switch_pause(redis, "broken", True, "ada", "we look ourselves", NOW)
    doing = fleet(dojo)["broken"]["doing"]
    assert doing == "nothing: the responder is paused by ada: we look ourselves"

    roll_out(redis, "broken", Stage.CANARY)
    assert fleet(dojo)["broken"]["doing"] == "rollout of version 4: canary"


def roll_out(redis: Redis, model: str, stage: Stage, budget: Literal["", "waits"] = "") -> None:
    rollout = Rollout(
        id="r",
        model=model,
        version="4",
        champion="3",
        started=NOW,
        why="it won",
        who="trainer",
        stage=stage,
        budget=budget,
        revision=0,
        history=(
            Transition(before=None, after=stage, world_time=NOW, who="trainer", why="it won"),
        ),
    )
    Rollouts(redis).save(rollout)


def test_the_queue_of_rollouts_begins_with_those_that_wait_for_their_owner(
    redis: Redis, dojo: Dojo
) -> None:
    roll_out(redis, "broken", Stage.DONE)
    roll_out(redis, "calm", Stage.WATCH)
    roll_out(redis, "new", Stage.AWAITING_APPROVAL)
    queue = dojo("list", command="rollout")
    assert queue.index("team of new") < queue.index("team of calm") < queue.index("team of broken")
    listed = json.loads(dojo("list", "--json", command="rollout"))
    assert [one["model"] for one in listed] == ["new", "calm", "broken"]
    assert [one["owner"] for one in listed] == ["team of new", "team of calm", "team of broken"]
    assert fleet(dojo)["new"]["doing"] == "rollout of version 4: waits for dojo rollout approve new"


def test_the_other_commands_are_as_before(dojo: Dojo) -> None:
    assert "promote" in dojo("--help")
    assert "what is wrong" not in dojo("promote", "--help")
    asked = CliRunner().invoke(build(), ["models", "show", "calm"], env={"DOJO_MODELS_DIR": "none"})
    assert asked.exit_code != 0, "there is no registry"
    assert "what is wrong" not in asked.output


def test_a_model_with_a_wrong_spec_comes_first_and_the_others_are_judged(
    redis: Redis, dojo: Dojo, tmp_path: Path
) -> None:
    give_route(redis, "calm", Arm("champion", "3", 1.0))
    give_route(redis, "broken", Arm("champion", "3", 1.0))
    roll_out(redis, "broken", Stage.CANARY)
    file = tmp_path / "models" / "broken.yaml"
    file.write_text(file.read_text().replace("task: binary", "task: prophecy"))
    found = fleet(dojo)
    assert list(found) == ["broken", "new", "calm"]
    broken = found["broken"]
    assert (broken["severity"], broken["serving"]) == ("critical", "3")
    assert broken["owner"] == "team of broken"
    assert "task: must be one of" in broken["wrong"]
    assert str(file) in broken["wrong"]
    assert broken["doing"].startswith("nothing: its owner corrects the file")
    assert "the rollout of version 4 (canary) stands still" in broken["doing"]
    assert '"broken"' in dojo("list", "--json", command="rollout")
    assert "no trouble is known" in dojo("status", command="responder")


def test_doctor_names_the_model_and_the_fault(tmp_path: Path) -> None:
    text = Path("models/fraud_detection.yaml").read_text()
    (tmp_path / "fraud_detection.yaml").write_text(text)
    (tmp_path / "broken.yaml").write_text("name: broken\ntask: prophecy\n")
    found = specs(load_settings(models_dir=tmp_path))
    assert found.verdict is DoctorVerdict.MISSING
    assert "broken is left out" in found.found
    assert "broken.yaml:2: task" in found.found
    assert "dojo config apply" in found.next_step
