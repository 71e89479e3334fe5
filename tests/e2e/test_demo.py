"""`dojo demo`: both acts on one small stack.

The first challenger fails only live, the second one wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.responder.policy import FAMILIES
from tests.e2e.stack import MODEL, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1000)]

# Two world hours per second give 250 payments per second. A town of 1,500 then has as many requests
# per wall second as the demo's town at the demo's speed.
QUICK = "7200"
# The bad challenger fails by night, and its shadow of two hours must be over by then. It begins at
# 20:00, so a busy machine has two seconds for it, as at the demo's own speed.
EVENING_SPEED = "3600"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Prepare a stack that `dojo demo` starts.

    It has a third of the demo's customers, and the spec's demands fit that number. Its trainer
    retrains by itself. test_airflow.py retrains in Airflow, and test_compose.py does so in a story.
    """
    directory = tmp_path_factory.mktemp("demo")
    stack = Stack(
        directory,
        DOJO_SYNTHETIC_CUSTOMERS="1500",
        DOJO_SYNTHETIC_MERCHANTS="1500",
    )
    file: Path = directory / "models" / f"{MODEL}.yaml"
    spec = yaml.safe_load(file.read_text())
    spec["rollout"] |= {
        "canary_weight": 0.3,  # as many customers at risk as in the demo's town
        "watch_time": "12h",
        "minimum_requests": 100,
        "minimum_positives": 5,
    }
    spec["gate"]["bootstrap_draws"] = 300
    spec["training"]["window"] = "45d"  # holds 2,000 frauds, and less of the time before the shift
    spec["drift"]["minimum_rows"] = 100  # 125 payments an hour; the demo's town has 300
    spec["drift"]["performance"] |= {"window": "5d", "minimum_positives": 30}  # 45 positives a day
    file.write_text(yaml.safe_dump(spec))
    try:
        yield stack
    finally:
        stack.dojo("down", check=False)


@pytest.fixture(scope="module")
def bad_canary(stage: Stack) -> dict[str, Any]:
    answer: dict[str, Any] = stage.json(
        "demo", "--act", "bad-canary", "--speed", EVENING_SPEED, within=600
    )
    return answer


@pytest.fixture(scope="module")
def story(stage: Stack, bad_canary: dict[str, Any]) -> dict[str, Any]:
    """Run the story in the world after the bad challenger. Its champion is as old as before."""
    answer: dict[str, Any] = stage.json("demo", "--speed", QUICK, "--days", "30", within=800)
    return answer


def stages(demo: dict[str, Any]) -> list[str]:
    return [step["after"] for step in demo["rollout"]["history"]]


def test_a_challenger_that_passes_offline_and_fails_live_is_taken_back_with_its_reason(
    bad_canary: dict[str, Any],
) -> None:
    assert bad_canary["retraining"]["verdict"] == "improved", "the gate saw nothing wrong with it"
    assert stages(bad_canary) == ["shadow", "canary", "rolling_back", "rolled_back"]
    reason = bad_canary["rollout"]["history"][-1]["why"]
    assert "errors" in reason or "slow" in reason, reason
    champion, challenger = bad_canary["rollout"]["champion"], bad_canary["rollout"]["version"]
    by_version = bad_canary["live"]["by_version"]
    by_challenger = (
        by_version[challenger]["predictions"] if challenger in by_version else 0
    )  # by night it answers no request in time
    assert by_challenger < 0.2 * by_version[champion]["predictions"]
    assert "arm_failed" in bad_canary["live"]["degraded"], "the champion answered for it"
    # The fallback answers only until the first version serves.
    assert by_version["0"]["predictions"] < 0.1 * by_version[champion]["predictions"]


def test_after_it_the_champion_has_all_traffic_and_its_owner_was_paged(
    stage: Stack, bad_canary: dict[str, Any]
) -> None:
    rollout = bad_canary["rollout"]
    found = {v["version"]: v for v in stage.look("models", "list")}
    assert "champion" in found[rollout["champion"]]["aliases"]
    assert not found[rollout["version"]]["aliases"]
    assert [
        m
        for m in stage.look("alerts")
        if m["urgency"] == "page" and rollout["version"] in m["title"]
    ]


def test_the_monitor_finds_that_the_champion_fails_and_the_responder_has_it_retrained(
    story: dict[str, Any],
) -> None:
    told = [(moment["who"], moment["what"]) for moment in story["timeline"]]
    # Labels show it. On a busy machine with late answers, another check may show it earlier.
    checks = "|".join(check for check, family in FAMILIES.items() if family == "model")
    lost = re.compile(rf"({checks}) of version \d+: (severe|critical)")
    found = next(
        (at for at, (who, what) in enumerate(told) if who == "monitor" and lost.fullmatch(what)),
        None,
    )
    assert found is not None, told
    asked = next(
        (at for at, (who, what) in enumerate(told) if who == "responder" and "retrain" in what),
        None,
    )
    assert asked is not None, told
    rolled = next(
        (at for at, (_, what) in enumerate(told) if what.startswith("rollout of version")), None
    )
    assert rolled is not None, told
    assert found < asked < rolled, told
    assert not [why for why in (moment["why"] for moment in story["timeline"]) if "demo" in why], (
        "nobody asked for it"
    )


def test_an_honest_winner_gets_all_traffic(stage: Stack, story: dict[str, Any]) -> None:
    assert story["retraining"]["outcome"] == "promote"
    assert story["retraining"]["gain"] > 0.1, "the world changed since the champion was trained"
    assert stages(story) == ["shadow", "canary", "promoting", "watch", "done"]
    winner = story["rollout"]["version"]
    assert stage.status()["champions"] == {MODEL: winner}
    assert (
        stage.predict({"customer_id": "c", "merchant_id": "m", "amount": 1.0})["version"] == winner
    )


def test_the_whole_story_is_in_the_audit_trail_unbroken(
    stage: Stack, story: dict[str, Any]
) -> None:
    kinds = {entry["kind"] for entry in stage.look("audit", "list")}
    assert kinds >= {"alias", "route", "gate", "rollout", "retraining"}
    assert stage.dojo("audit", "verify").returncode == 0
