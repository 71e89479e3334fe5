"""Every drill's file is right, and a wrong one is refused with its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from dojo.cli.app import COMMANDS, build
from dojo.drills.catalogue import (
    DIRECTORY,
    DrillFileError,
    UnknownDrillError,
    any_drill,
    catalogue,
    drill,
    load_drill,
)
from dojo.drills.record import Step
from dojo.drills.running.steps import fault_of
from dojo.drills.scoring.score import CHANGES, CHANGING, IMPACT, SCOPE
from dojo.drills.spec import DrillSpec

ALL = catalogue()
ALERTS = {
    rule["alert"]
    for path in Path("monitoring/prometheus/rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


@pytest.mark.parametrize("spec", ALL.values(), ids=list(ALL))
def test_a_drill_names_an_alert_a_fault_and_commands_that_exist(spec: DrillSpec) -> None:
    assert set(spec.page.alerts) <= ALERTS
    commands = [
        *spec.evidence.cause,
        *spec.evidence.symptom,
        *spec.allowed,
        *(one for found in spec.evidence.excludes.values() for one in found),
    ]
    assert {one.split()[0] for one in commands if not one.startswith("$ ")} <= set(COMMANDS)
    assert spec.answer.mechanism not in spec.answer.forbidden
    assert spec.answer.mechanism not in spec.evidence.excludes
    assert len(spec.evidence.excludes) >= 2, "a hypothesis must be refutable"
    assert len(spec.hints) >= 2


@pytest.mark.parametrize("spec", ALL.values(), ids=list(ALL))
def test_health_is_no_harm(spec: DrillSpec) -> None:
    """The witness's bound lies beyond the outcome's, and without data neither holds."""
    assert not spec.witness.holds([None] * len(spec.witness.bounds))
    assert not spec.outcome.holds([None] * len(spec.outcome.bounds))
    harm = {one.measured: one for one in spec.witness.bounds}
    for one in spec.outcome.bounds:
        if one.at_most is not None and (seen := harm.get(one.measured)) and seen.at_least:
            assert seen.at_least > one.at_most


def test_the_commands_that_the_score_knows_exist() -> None:
    known = {command.split()[0] for command in (*IMPACT, *SCOPE, *CHANGES, *CHANGING)}
    assert known <= set(COMMANDS)


def test_chance_chooses_among_all_or_those_of_a_level() -> None:
    assert {any_drill(ALL).id for _ in range(200)} == set(ALL)
    levels = {spec.level for spec in ALL.values()}
    for level in levels:
        assert any_drill(ALL, level).level == level
    with pytest.raises(UnknownDrillError, match="level"):
        any_drill(ALL, next(level for level in (1, 2, 3, 4, 9) if level not in levels))


@pytest.mark.parametrize("words", [[], ["half-a-file", "--random"]])
def test_a_start_needs_a_name_or_chance(words: list[str]) -> None:
    refused = CliRunner().invoke(build(), ["drill", "start", *words])
    assert refused.exit_code == 2
    assert "--random" in refused.stderr


def test_an_unknown_drill_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownDrillError, match=next(iter(ALL))):
        drill("nothing")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("answer.component", "kitchen", "answer.component: must be one of"),
        ("answer.mechanism", "bad_luck", "answer.mechanism: must be one of"),
        ("answer.trigger", "fate", "answer.trigger: must be one of"),
        ("answer.impact", "some", "answer.impact: must be one of"),
        ("answer.forbidden", ["bad_luck"], r"answer\.forbidden\.0: must be one of"),
        (
            "evidence.excludes",
            {"bad_luck": ["status"]},
            r"evidence\.excludes\.bad_luck.*: must be one of",
        ),
        ("level", 5, "level: "),
        ("surprise", 1, "surprise: unknown key"),
        ("faults", [{"kind": "earthquake"}], r"faults\.0"),
        ("faults", [], "faults"),
        ("faults", [{"kind": "world_drift", "drift": "weather"}], r"faults\.0.*drift"),
        ("faults", [{"kind": "store_setting", "memory_share": 2}], r"faults\.0.*memory_share"),
        ("owner", {"team": "kitchen", "since_within": "1h"}, "owner.team: must be one of"),
        ("needs", ["luck"], "needs"),
        ("outcome.bounds", [{"probe": "luck", "at_most": 1}], r"outcome\.bounds\.0\.probe"),
        ("outcome.bounds", [{"at_most": 1}], "a probe or a query"),
        ("outcome.bounds", [{"query": "up", "probe": "changed_alarm"}], "a probe or a query"),
        ("outcome.bounds", [{"query": "up"}], "at_least or at_most"),
        ("id", "another", "must equal the file's name"),
        ("evidence.cause", [], "evidence.cause: "),
    ],
)
def test_a_wrong_file_is_refused_with_its_field(
    tmp_path: Path, key: str, value: object, said: str
) -> None:
    name = next(iter(ALL))
    document: dict[str, Any] = yaml.safe_load(next(DIRECTORY.glob(f"*/{name}.yaml")).read_text())
    *parents, last = key.split(".")
    section = document
    for parent in parents:
        section = section[parent]
    section[last] = value
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(DrillFileError, match=said) as refused:
        load_drill(file)
    assert str(file) in str(refused.value)


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("a: [")
    with pytest.raises(DrillFileError, match=r"broken\.yaml"):
        load_drill(file)
    with pytest.raises(DrillFileError, match=r"missing\.yaml"):
        load_drill(tmp_path / "missing.yaml")


@pytest.mark.parametrize("spec", ALL.values(), ids=list(ALL))
def test_what_a_run_writes_down_of_a_fault_is_read_back(spec: DrillSpec) -> None:
    """A killed drill is undone from its record alone."""
    for fault in spec.faults:
        written = msgspec.json.encode(Step(fault=fault.model_dump(mode="json")))
        assert fault_of(msgspec.json.decode(written, type=Step)) == fault
