"""What makes a drill harder: each term has its own harmless step, and the countdown is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dojo.core.state.clock import wall_now
from dojo.drills.catalogue import catalogue
from dojo.drills.commands.saying import left
from dojo.drills.faults.processes.service_override import ServiceOverride
from dojo.drills.record import DrillRun, State
from dojo.drills.running.terms import BESIDE, PLAIN, QUIET, Terms, after_harm, before_harm
from dojo.drills.spec import DrillSpec
from dojo.drills.taxonomy import COMPONENTS

ALL = catalogue()


@pytest.mark.parametrize("spec", ALL.values(), ids=list(ALL))
def test_without_terms_nothing_is_added(spec: DrillSpec) -> None:
    assert before_harm(PLAIN, spec) == []
    assert after_harm(PLAIN) == []


@pytest.mark.parametrize("spec", ALL.values(), ids=list(ALL))
def test_a_decoy_touches_no_service_that_the_fault_has(spec: DrillSpec) -> None:
    taken = {fault.service for fault in spec.faults if isinstance(fault, ServiceOverride)}
    for fault in before_harm(Terms(decoy=True), spec):
        assert isinstance(fault, ServiceOverride)
        assert fault.service not in {*taken, "gateway"}
        assert fault.service == BESIDE.get(spec.answer.component, "rollout")


def test_the_automation_is_paused_by_a_colleague() -> None:
    (fault,) = before_harm(Terms(automation=False), next(iter(ALL.values())))
    assert fault.model_dump()["kind"] == "paused_responder"


def test_noise_kills_a_service_that_no_caller_waits_for() -> None:
    killed = {after_harm(Terms(noise=True))[0].model_dump()["process"] for _ in range(100)}
    assert killed == set(QUIET)
    assert "gateway" not in killed


def test_the_components_of_a_decoy_exist() -> None:
    assert set(COMPONENTS) >= set(BESIDE)


def run(state: State = "paged", seconds: float | None = None) -> DrillRun:
    ends = None if seconds is None else wall_now() + timedelta(seconds=seconds)
    return DrillRun(number=1, drill="x", seal="", salt="", state=state, ends=ends)


def test_the_time_that_is_left_is_told_while_it_counts() -> None:
    assert left(run()) == ""
    assert left(run(seconds=90.2)) == " (1:30 left)"
    assert left(run(seconds=-5)) == " (0:00 left)"
    assert left(run(state="closed", seconds=90)) == ""
