"""The score follows from the record alone: four responders, each rule, and bounds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo.cli.trace import TracedCommand
from dojo.drills.catalogue import drill
from dojo.drills.record import Diagnosis, DrillRun, Hypothesis, Sample
from dojo.drills.scoring.score import CHANGING, IMPACT, Score, ScoreLine, mitigated_at, score
from dojo.drills.taxonomy import COMPONENTS, IMPACTS, MECHANISMS, TRIGGERS

SPEC = drill("two-recorders")
PAGED = datetime(2026, 11, 30, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return PAGED + timedelta(seconds=seconds)


def calls(*of: tuple[float, str], code: int = 0) -> list[TracedCommand]:
    return [TracedCommand(at(seconds), tuple(said.split()), code) for seconds, said in of]


# The right work: look, think, end the stray process at 300 s, and watch.
LOOKS = calls(
    (20, "alerts"), (40, "status"), (60, "logs recorder"), (80, "audit list"), (90, "models")
)
CHECKS = calls((310, "metrics recorder"), (340, "metrics recorder"))
THOUGHTS = [
    Hypothesis(
        at=at(50), mechanism="saturation_storage", evidence="alerts", refuted=at(70),
        against="logs recorder",
    ),
    Hypothesis(at=at(75), mechanism="lock", evidence="logs recorder"),
]  # fmt: skip
RIGHT = Diagnosis(
    at=at(200), component="stray_process", mechanism="lock", trigger="manual_command",
    impact="none", scope="all",
)  # fmt: skip
POST_MORTEM = [ScoreLine("post-mortem", "all of it", 10, 10, "")]


def samples(over: float = 300, until: float = 400) -> list[Sample]:
    """Return the outcome second by second. The harm is over from `over` on."""
    return [Sample(at(n), (3.0 if n >= over else 90.0,)) for n in range(0, int(until), 5)]


def run(**others: Any) -> DrillRun:
    """Return a run that was resolved in every right way, with `others` changed."""
    marks = {
        "paged": at(0), "acked": at(10), "resolve_asked": at(350), "held": at(375),
        "replayed": at(395), "alert_resolved": at(396), "closed": at(397),
    }  # fmt: skip
    found = DrillRun(
        number=1, drill=SPEC.id, seal="", salt="", state="closed", marks=marks,
        hypotheses=copy.deepcopy(THOUGHTS), diagnoses=[RIGHT],
        unanswered={"page": (1000, 10), "end": (3000, 10)},
    )  # fmt: skip
    for name, value in others.items():
        setattr(found, name, value)
    return found


def without(*marks: str) -> dict[str, datetime]:
    return {name: when for name, when in run().marks.items() if name not in marks}


def scored(
    one: DrillRun, commands: Sequence[TracedCommand] = (*LOOKS, *CHECKS), **others: Any
) -> Score:
    return score(one, SPEC, commands, others.get("samples", samples()), others.get("after", ()))


def points(of: Score, part: str, what: str = "") -> float:
    return sum(one.points for one in of.parts if one.part == part and what in one.what)


def test_the_right_work_earns_everything() -> None:
    found = scored(run(), after=POST_MORTEM)
    assert found.total == 100
    assert found.grade == "strong hire"
    assert found.gates == ()
    assert sum(part.most for part in found.parts) == 100


def test_doing_nothing_earns_next_to_nothing() -> None:
    idle = run(marks={"paged": at(0)}, hypotheses=[], diagnoses=[], unanswered={}, state="stopped")
    found = scored(idle, [], samples=samples(over=9999))
    assert found.total <= 20
    assert found.grade == "no hire"


def test_restarting_everything_is_no_hire() -> None:
    names = ("recorder", "gateway", "redis", "streamer", "monitor", "mlflow")
    blind = run(
        marks=without("acked", "held", "replayed", "alert_resolved", "closed"), hypotheses=[],
        diagnoses=[], unanswered={}, state="stopped",
    )  # fmt: skip
    found = scored(blind, calls(*((5 + n, f"restart {name}") for n, name in enumerate(names))))
    assert found.total <= 39
    assert found.grade == "no hire"


def test_a_shotgun_of_all_looks_and_actions_stays_below_half() -> None:
    looks = ("status", "models", "audit list", "alerts", "logs recorder", "doctor")
    acts = ("models rollback", "restart gateway", "retrain", "responder pause", "restart recorder")
    guess = Diagnosis(
        at=at(30), component="lake", mechanism="lost_data", trigger="growth", impact="unanswered",
        scope="all",
    )  # fmt: skip
    wild = run(
        marks=without("held", "replayed", "alert_resolved", "closed"), hypotheses=[],
        diagnoses=[guess], state="stopped", unanswered={},
    )  # fmt: skip
    found = scored(wild, calls(*((n, said) for n, said in enumerate((*looks, *acts), 1))))
    assert found.total <= 49
    assert found.grade == "no hire"


def test_a_fast_right_fix_without_a_look_is_a_lean_hire_at_best() -> None:
    blind = calls((5, "restart recorder"), (40, "status"), (60, "logs recorder"))
    found = scored(run(), [*blind, *CHECKS], after=POST_MORTEM)
    assert points(found, "order", "before changing") == 0
    assert found.total >= 65
    assert found.grade == "lean hire"
    assert "not looked at" in found.gates[0]


@pytest.mark.parametrize(
    ("component", "mechanism", "trigger", "earned"),
    [
        ("stray_process", "lock", "manual_command", 20),
        ("recorder", "lock", "manual_command", 17),  # one hop away
        ("event_log", "lock", "manual_command", 15),  # two hops
        ("alerting", "lock", "manual_command", 14),  # far away
        ("stray_process", "unreachable", "manual_command", 17),  # of the same family
        ("stray_process", "hot_key", "manual_command", 14),
        ("stray_process", "lost_data", "manual_command", 9),  # the evidence excludes it
        ("stray_process", "lock", "growth", 16),
    ],
)
def test_near_answers_earn_a_part(
    component: str, mechanism: str, trigger: str, earned: float
) -> None:
    said = Diagnosis(
        at=at(200), component=component, mechanism=mechanism, trigger=trigger, impact="none",
        scope="all",
    )  # fmt: skip
    assert points(scored(run(diagnoses=[said])), "diagnosis") == pytest.approx(earned, abs=0.03)


def test_an_answer_without_a_look_at_what_shows_it_is_capped() -> None:
    seen = calls((20, "models"), (30, "audit list"))
    assert points(scored(run(), [*seen, *CHECKS]), "diagnosis") == pytest.approx(10, abs=0.03)
    late = calls((20, "models"), (201, "status"))
    assert points(scored(run(), [*late, *CHECKS]), "diagnosis") == pytest.approx(10, abs=0.03)


def test_a_second_answer_counts_three_quarters() -> None:
    first = Diagnosis(
        at=at(150), component="lake", mechanism="lock", trigger="growth", impact="none",
        scope="all",
    )  # fmt: skip
    assert points(scored(run(diagnoses=[first, RIGHT])), "diagnosis") == pytest.approx(15, abs=0.03)


@pytest.mark.parametrize(
    ("change", "part", "what", "earned"),
    [
        ({"marks": without("acked")}, "order", "acknowledged", 0),
        ({"marks": {**run().marks, "acked": at(301)}}, "order", "acknowledged", 0),
        ({"hypotheses": THOUGHTS[:1]}, "hypotheses", "two before", 0),
        ({"hypotheses": []}, "hypotheses", "", 0),
        ({"diagnoses": []}, "diagnosis", "", 0),
        ({"marks": without("held", "replayed")}, "mitigation", "", 0),
        ({"marks": without("replayed")}, "mitigation", "survived", 0),
        ({"marks": without("alert_resolved")}, "verification", "alert", 0),
        ({"marks": {**run().marks, "resolve_asked": at(310)}}, "verification", "watched", 0),
        ({"marks": without("closed")}, "damage", "", 0),
        ({"left": ["process 7"]}, "damage", "left behind", 0),
        ({"unanswered": {"page": (0, 0), "end": (1000, 20)}}, "damage", "callers got", 2),
        ({"unanswered": {"page": (0, 0), "end": (1000, 900)}}, "damage", "callers got", 0),
        ({"unanswered": {}}, "damage", "callers got", 0),  # not measured is not earned
    ],
)
def test_each_point_needs_its_evidence(
    change: dict[str, Any], part: str, what: str, earned: float
) -> None:
    whole, less = scored(run()), scored(run(**copy.deepcopy(change)))
    assert points(less, part, what) == earned
    assert points(whole, part, what) > earned


def test_the_page_may_be_acknowledged_as_any_incident() -> None:
    marks = without("acked")
    for code, earned in ((0, 3), (1, 0)):
        commands = [*calls((20, "incidents ack latest"), code=code), *LOOKS, *CHECKS]
        assert points(scored(run(marks=marks), commands), "order", "acknowledged") == earned


def test_evidence_that_was_not_called_supports_no_hypothesis() -> None:
    thoughts = copy.deepcopy(THOUGHTS)
    thoughts[1].evidence = "redis INFO"
    assert points(scored(run(hypotheses=thoughts)), "hypotheses", "with evidence") == 0
    thoughts = copy.deepcopy(THOUGHTS)
    thoughts[0].at = at(10)  # before `alerts` was called
    assert points(scored(run(hypotheses=thoughts)), "hypotheses", "with evidence") == 0


def test_a_refutation_by_what_does_not_exclude_it_earns_less() -> None:
    thoughts = copy.deepcopy(THOUGHTS)
    thoughts[0].against = "alerts"
    assert points(scored(run(hypotheses=thoughts)), "hypotheses", "refuted") == 2


@pytest.mark.parametrize("command", CHANGING)
def test_each_change_of_a_healthy_part_costs_two_points_unless_it_failed(command: str) -> None:
    free = "" if command != "restart" else " gateway"
    changed = [*LOOKS, *calls((250, command + free)), *CHECKS]
    assert points(scored(run(), changed), "damage", "healthy") == 2
    failed = [*LOOKS, *calls((250, command + free), code=1), *CHECKS]
    assert points(scored(run(), failed), "damage", "healthy") == 4


def test_in_a_control_a_change_of_what_serves_takes_the_whole_mitigation() -> None:
    control = drill("cry-wolf")
    assert control.control
    changed = [*LOOKS, *calls((250, "models rollback")), *CHECKS]
    found = score(run(), control, changed, samples())
    assert points(found, "mitigation") == 0
    assert sum(part.most for part in found.parts) == 90
    mended = [*LOOKS, *calls((250, "restart prometheus")), *CHECKS]
    assert points(score(run(), control, mended, samples()), "mitigation") == 15


def test_an_allowed_change_costs_nothing_and_calls_before_the_page_do_not_count() -> None:
    fine = [*calls((-30, "models rollback")), *LOOKS, *calls((250, "restart recorder")), *CHECKS]
    assert points(scored(run(), fine), "damage", "healthy") == 4
    early = calls(*((-60 + n, command) for n, command in enumerate(IMPACT)))
    assert points(scored(run(), [*early, *CHECKS]), "order", "before changing") == 0


def test_a_hint_costs_five_points_and_is_named() -> None:
    found = scored(run(hints=2))
    assert found.total == scored(run()).total - 10
    assert "2 hints" in found.gates


def test_who_loses_recorded_data_is_no_hire() -> None:
    found = scored(run(lost=["transactions/date=2025-01-05/history.parquet"]), after=POST_MORTEM)
    assert found.total == 39
    assert found.grade == "no hire"
    assert "data is lost: 1 files of the lake" in found.gates


def test_the_symptom_counts_when_it_is_read_after_the_mitigation_and_apart() -> None:
    once = [*LOOKS, *CHECKS[:1]]
    assert points(scored(run(), once), "verification", "read the symptom") == 2
    close = [*LOOKS, *calls((310, "status"), (312, "status"))]
    assert points(scored(run(), close), "verification", "read the symptom") == 2
    assert points(scored(run(), LOOKS), "verification", "read the symptom") == 0


def test_the_mitigation_begins_with_the_last_unbroken_stretch() -> None:
    values = (90.0, 3.0, 3.0, 90.0, None, 3.0, 3.0, 90.0)
    flapping = [Sample(at(n), (value,)) for n, value in enumerate(values)]
    known = {"paged": at(0)}
    assert mitigated_at(SPEC, flapping[:7], run(marks=known)) == at(5)
    assert mitigated_at(SPEC, flapping, run(marks=known)) is None
    assert mitigated_at(SPEC, flapping, run(marks={**known, "held": at(6)})) == at(5), "a replay"
    assert mitigated_at(SPEC, flapping[:4], run(marks=known)) is None
    assert mitigated_at(SPEC, [], run(marks=known)) is None
    assert mitigated_at(SPEC, flapping[:7], run(marks={})) is None


MOMENTS = st.integers(-600, 3600).map(at)
WORDS = st.sampled_from(
    ["status", "alerts", "models", "audit list", "logs recorder", "metrics recorder", "drill ack",
     "kitchen", *CHANGING]
)  # fmt: skip
COMMANDS = st.lists(
    st.builds(
        lambda when, said, code: TracedCommand(when, tuple(said.split()), code),
        MOMENTS, WORDS, st.integers(0, 2),
    )
).map(lambda found: sorted(found, key=lambda one: one.at))  # fmt: skip
RUNS = st.builds(
    run,
    marks=st.dictionaries(st.sampled_from(list(run().marks)), MOMENTS),
    hypotheses=st.lists(
        st.builds(
            Hypothesis, at=MOMENTS, mechanism=st.sampled_from(MECHANISMS), evidence=WORDS,
            refuted=st.none() | MOMENTS, against=WORDS,
        )
    ),
    diagnoses=st.lists(
        st.builds(
            Diagnosis, at=MOMENTS, component=st.sampled_from(COMPONENTS),
            mechanism=st.sampled_from(MECHANISMS), trigger=st.sampled_from(TRIGGERS),
            impact=st.sampled_from(IMPACTS), scope=st.sampled_from(["all", "banner"]),
        )
    ),
    hints=st.integers(0, 3),
    left=st.lists(st.just("process 1"), max_size=2),
    unanswered=st.dictionaries(
        st.sampled_from(["page", "end"]),
        st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
    ),
)  # fmt: skip
SAMPLES = st.lists(
    st.builds(Sample, MOMENTS, st.tuples(st.none() | st.floats(-10, 1000)))
).map(lambda found: sorted(found, key=lambda one: one.at))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(RUNS, COMMANDS, SAMPLES)
def test_any_record_has_a_score_within_its_bounds(
    one: DrillRun, commands: list[TracedCommand], found: list[Sample]
) -> None:
    result = score(one, SPEC, commands, found)
    assert 0 <= result.total <= 100
    for part in result.parts:
        assert 0 <= part.points <= part.most + 0.01, part
        assert part.evidence
    if result.grade == "strong hire":
        assert result.total >= 80
    if "held" not in one.marks:
        assert result.grade in ("no hire", "lean hire")


@pytest.mark.parametrize(("after", "lost"), [(0, True), (499, True), (500, False), (1200, False)])
def test_an_emptied_online_store_is_lost_data(after: int, lost: bool) -> None:
    found = scored(run(keys={"page": 1000, "end": after}), after=POST_MORTEM)
    assert (found.total <= 39) is lost
    assert (found.grade == "no hire") is lost
    assert any("keys of the online store" in gate for gate in found.gates) is lost


def test_keys_that_were_not_counted_are_not_lost() -> None:
    for keys in ({}, {"page": 1000}, {"end": 0}):
        assert scored(run(keys=keys), after=POST_MORTEM).total == 100
