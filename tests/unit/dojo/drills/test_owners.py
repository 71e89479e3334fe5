"""An owner outside the platform ends what is theirs when they are told enough, and only then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dojo.drills.catalogue import catalogue, drill
from dojo.drills.record import DrillRun, Step
from dojo.drills.running.owners import _reply
from dojo.drills.spec import DrillSpec
from dojo.drills.taxonomy import MECHANISMS, TEAMS

SINCE = datetime(2025, 1, 6, 2, tzinfo=UTC)
WITH_OWNER = [spec for spec in catalogue().values() if spec.owner is not None]


def run_of(spec: DrillSpec) -> DrillRun:
    steps = [Step(fault=fault.model_dump(mode="json")) for fault in spec.faults]
    return DrillRun(number=1, drill=spec.id, seal="", salt="", since=SINCE, steps=steps)


@pytest.mark.parametrize("spec", WITH_OWNER, ids=lambda spec: spec.id)
def test_the_right_words_end_it_at_both_ends_of_the_tolerance(spec: DrillSpec) -> None:
    assert spec.owner is not None
    for offset in (-spec.owner.since_within, timedelta(0), spec.owner.since_within):
        told, ended = _reply(
            run_of(spec), spec, spec.owner.team, spec.answer.mechanism, SINCE + offset
        )
        assert ended is not None
        assert ended.fault == spec.faults[0].model_dump(mode="json")
        assert "mended" in told
    beyond = spec.owner.since_within + timedelta(minutes=1)
    for offset in (-beyond, beyond):
        told, ended = _reply(
            run_of(spec), spec, spec.owner.team, spec.answer.mechanism, SINCE + offset
        )
        assert ended is None
        assert "Since when" in told


@pytest.mark.parametrize("spec", WITH_OWNER, ids=lambda spec: spec.id)
def test_what_made_the_drill_harder_is_not_what_the_owner_ends(spec: DrillSpec) -> None:
    assert spec.owner is not None
    run = run_of(spec)
    run.steps.insert(0, Step(fault={"kind": "paused_responder", "who": "a", "why": "b"}))
    _, ended = _reply(run, spec, spec.owner.team, spec.answer.mechanism, SINCE)
    assert ended is run.steps[1]


@pytest.mark.parametrize("spec", WITH_OWNER, ids=lambda spec: spec.id)
def test_every_other_team_and_mechanism_ends_nothing(spec: DrillSpec) -> None:
    assert spec.owner is not None
    for team in set(TEAMS) - {spec.owner.team}:
        told, ended = _reply(run_of(spec), spec, team, spec.answer.mechanism, SINCE)
        assert ended is None
        assert "not ours" in told
    for mechanism in set(MECHANISMS) - {spec.answer.mechanism}:
        told, ended = _reply(run_of(spec), spec, spec.owner.team, mechanism, SINCE)
        assert ended is None
        assert "What exactly" in told


def test_what_the_platform_can_end_has_no_owner() -> None:
    spec = drill("two-recorders")
    for team in TEAMS:
        assert _reply(run_of(spec), spec, team, spec.answer.mechanism, SINCE)[1] is None
