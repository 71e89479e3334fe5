"""The pure parts of the rollout controller: evidence, labels, limits, looks, requests, pace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from dojo.core.events.streams import decode, encode
from dojo.core.events.types import Event, Outcome, Prediction, Shadow
from dojo.core.judging.rollout.arms import LATENCY_EDGES, ArmCounts
from dojo.core.judging.rollout.decide import judge
from dojo.core.judging.rollout.evidence import Evidence, decode_evidence, encode_evidence
from dojo.core.judging.rollout.limits import (
    PARTS,
    Baseline,
    baseline_of,
    label_tests,
    stops_at,
    watch_limits,
)
from dojo.core.judging.rollout.stages import Stage
from dojo.core.outcome_join import WAITING_LIMIT
from dojo.core.state.clock import wall_now
from dojo.core.state.rollouts import Action, Rollout, RolloutRequest, Transition
from dojo.core.state.routes import Route
from dojo.core.tasks.specs import load_spec, task_of
from dojo.stats.inference.sequential import RestartingEProcess
from services.rollout.fold import fold
from services.rollout.pace import backoff, look_interval
from services.rollout.requests import answer
from services.rollout.stages import route_of
from tests.support.rollout_events import Gateway, Quality

SPEC = load_spec(Path("models/fraud_detection.yaml"))
TASK = task_of(SPEC)
START = datetime(2018, 7, 1, tzinfo=UTC)


def rollout_in(stage: Stage, request: RolloutRequest | None = None) -> Rollout:
    return Rollout(
        id="fraud_detection-2-x",
        model=SPEC.name,
        version="2",
        champion="1",
        started=START,
        why="test",
        who="test",
        stage=stage,
        baseline={"recall_at_threshold": 0.6},
        history=(Transition(before=None, after=stage, world_time=START, who="test", why="test"),),
        request=request,
    )


def route_for(stage: Stage) -> Route:
    wanted = route_of(rollout_in(stage), SPEC)
    return Route(
        model=SPEC.name,
        generation=3,
        strategy=wanted.strategy,
        arms=wanted.arms,
        salt=wanted.salt,
        changed_at=START,
        who="x",
        why="x",
    )


def events_of(stage: Stage, requests: int, **qualities: Quality) -> list[Event]:
    gateway = Gateway(
        {"1": qualities.get("champion", Quality()), "2": qualities.get("challenger", Quality())}
    )
    found: list[Event] = []
    for sent in range(requests):
        answers = gateway.answer(route_for(stage), START + timedelta(seconds=sent))
        found += answers
        if stage is Stage.WATCH and isinstance(answers[0], Prediction):
            found.append(gateway.outcome(answers[0], timedelta(hours=1)))
    return found


def evidence_of(stage: Stage, events: list[Event], evidence: Evidence | None = None) -> Evidence:
    evidence = evidence or Evidence(stage=stage, cursors={}, generation=3)
    for event in events:
        fold(evidence, event, rollout_in(stage), SPEC)
    return evidence


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY, Stage.WATCH])
@pytest.mark.parametrize("stop_at", [0, 1, 250, 499])
def test_evidence_that_is_stored_and_read_in_between_is_the_same_as_evidence_in_one_go(
    stage: Stage, stop_at: int
) -> None:
    events = events_of(stage, 500, challenger=Quality(errors=0.1, slow=0.1))
    whole = evidence_of(stage, events)
    begun = decode_evidence(encode_evidence(evidence_of(stage, events[:stop_at])))
    assert evidence_of(stage, events[stop_at:], begun) == whole


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY, Stage.WATCH])
def test_events_of_other_routes_models_and_stages_count_for_nothing(stage: Stage) -> None:
    empty = Evidence(stage=stage, cursors={}, generation=3)
    others = [
        msgspec.structs.replace(event, **change)
        for event in events_of(stage, 50)
        if hasattr(event, "model")
        for change in ({"route_generation": 2}, {"route_generation": 4}, {"model": "churn"})
        if set(change) <= set(event.__struct_fields__)
    ]
    assert evidence_of(stage, others) == empty
    foreign = Stage.CANARY if stage is Stage.SHADOW else Stage.SHADOW
    shadows_or_predictions = [
        e for e in events_of(foreign, 50) if isinstance(e, Shadow) == (foreign is Stage.SHADOW)
    ]
    assert evidence_of(stage, shadows_or_predictions) == empty


def test_labels_of_another_model_are_no_evidence() -> None:
    """Several models may have labels for the same requests."""
    events = events_of(Stage.WATCH, 50)
    foreign = [
        msgspec.structs.replace(event, model="churn")
        for event in events
        if isinstance(event, Outcome)
    ]
    answers = [event for event in events if not isinstance(event, Outcome)]
    assert len(foreign) == 50
    assert evidence_of(Stage.WATCH, [*answers, *foreign]) == evidence_of(Stage.WATCH, answers)


def test_hidden_labels_are_no_evidence_and_weights_move_the_limits() -> None:
    """Most flagged answers have no label. The limits follow, also for labels that came before."""
    events = events_of(Stage.WATCH, 3_000, challenger=Quality(flagged=0.1))
    flagged = {e.request_id for e in events if isinstance(e, Prediction) and e.flagged}
    number = {request: at for at, request in enumerate(sorted(flagged))}
    selective: list[Event] = []
    for event in events:
        if not isinstance(event, Outcome) or event.request_id not in flagged:
            selective.append(event)
        elif number[event.request_id] % 5:
            selective.append(msgspec.structs.replace(event, label=None, hidden_by="declined"))
        else:
            selective.append(msgspec.structs.replace(event, weight=5.0))
    found = evidence_of(Stage.WATCH, selective)
    assert found.labelled.weight == 5.0
    whole = evidence_of(Stage.WATCH, events)
    for name in ("missed", "false_positives"):
        assert found.labelled.trials[name] < whole.labelled.trials[name]
    # In order, or with the first weight behind all labels without one: the same evidence.
    last = sorted(selective, key=lambda e: isinstance(e, Outcome) and e.weight > 1)
    again = evidence_of(Stage.WATCH, last)
    assert again.labelled.trials == found.labelled.trials
    limits = label_tests(rollout_in(Stage.WATCH).baseline, SPEC, 5.0)
    alone = RestartingEProcess()
    for kept, label in again.labelled.paired.values():
        if label == 1:
            alone.observe(not kept, limits["missed"].limit)
    assert again.e_value("missed") == pytest.approx(alone.e_value)


def test_a_customer_whose_payments_keep_failing_counts_once() -> None:
    events = events_of(Stage.CANARY, 3_000, challenger=Quality(errors=1.0))
    failed = next(e for e in events if isinstance(e, Prediction) and e.arm == "challenger")
    evidence = evidence_of(Stage.CANARY, [failed] * 100)
    assert (evidence.challenger.errors, evidence.tests["errors"].observations) == (100, 1)


def test_a_stand_ins_answer_is_no_evidence_of_the_challengers_scores() -> None:
    evidence = evidence_of(
        Stage.CANARY, events_of(Stage.CANARY, 1_000, challenger=Quality(errors=1.0))
    )
    assert evidence.challenger.requests > 50
    assert (evidence.challenger.answered, sum(evidence.challenger.scores)) == (0, 0)


def test_evidence_stays_below_a_megabyte() -> None:
    evidence = Evidence(stage=Stage.WATCH, cursors={})
    for n in range(WAITING_LIMIT):
        evidence.labelled.predicted(f"r{n}", TASK.kept(0.5, False))
        evidence.labelled.early[2**62 + n] = 1
    for check in ("errors", "degraded", "slow", "declines"):
        evidence.counted[check] = set(range(2**62, 2**62 + 4_000))
    assert len(encode_evidence(decode_evidence(encode_evidence(evidence)))) < 1_000_000


@pytest.mark.parametrize("waiting", [Prediction, Outcome])
def test_an_answer_or_a_label_that_waits_takes_ten_bytes(waiting: type[Event]) -> None:
    """Events are decoded from the log as the controller reads them.

    Each look stores the evidence.
    """
    events = [event for event in events_of(Stage.WATCH, 500) if isinstance(event, waiting)]
    read = [decode(event.stream, encode(event)) for event in events]
    first, rest = evidence_of(Stage.WATCH, events_of(Stage.WATCH, 1)), read[1:]
    found = evidence_of(Stage.WATCH, rest, decode_evidence(encode_evidence(first)))
    stored = decode_evidence(encode_evidence(found))
    assert len(stored.labelled.open) + len(stored.labelled.early) > 400
    size = len(msgspec.msgpack.encode(stored.labelled.open)) + len(
        msgspec.msgpack.encode(stored.labelled.early)
    )
    assert size <= 10 * len(rest) + 10


def test_the_parts_of_the_false_alarm_add_up_to_the_whole() -> None:
    checks = [*PARTS, *((Stage.WATCH, test) for test in label_tests({}, SPEC))]
    assert sum(1 / stops_at(stage, check, SPEC) for stage, check in checks) == pytest.approx(
        SPEC.rollout.checks.false_alarm
    )


def test_without_a_canary_the_floors_are_the_limits_and_with_one_its_upper_rates() -> None:
    bare = watch_limits(Baseline(), SPEC)
    assert (bare.errors, bare.slow) == (0.005, 0.05)
    measured = watch_limits(baseline_of(ArmCounts(requests=1_000, errors=20, slow=100)), SPEC)
    assert 0.02 < measured.errors < 0.035
    assert 0.15 < measured.slow < 0.2


def test_labels_are_held_against_what_the_gate_measured_and_without_it_only_false_alarms_are() -> (
    None
):
    without, given = label_tests({}, SPEC), label_tests({"recall_at_threshold": 0.6}, SPEC)
    assert without["missed"].limit is None
    assert "no recall_at_threshold" in without["missed"].note
    assert (given["missed"].limit, given["missed"].note) == (pytest.approx(0.55), "")
    few = label_tests({"recall_at_threshold": 0.12}, SPEC)["missed"]
    assert few.limit == pytest.approx(0.999)
    assert (
        few.note == "finds nothing: the champion caught 0.120, and catch_rate_drop allows 0.15 less"
    )
    assert without["false_positives"].limit == given["false_positives"].limit == pytest.approx(0.02)


def test_a_median_latency_is_known_to_a_factor_of_two() -> None:
    arm = ArmCounts()
    assert arm.median_latency() is None
    for milliseconds in (1, 2, 3, 4, 1_000):
        arm.took(milliseconds / 1000, 0.05)
    median = arm.median_latency()
    assert median is not None
    assert 0.003 <= median <= 0.006
    arm.latencies[-1] = 100
    assert arm.median_latency() == float("inf")
    assert len(arm.latencies) == len(LATENCY_EDGES) + 1


def test_nothing_at_all_is_insufficient_data_and_stays() -> None:
    for stage in (Stage.SHADOW, Stage.CANARY, Stage.WATCH):
        judged = judge(Evidence(stage=stage, cursors={}), SPEC, {}, None)
        assert judged.decision == "stay"
        assert {look.verdict for look in judged.looks} == {"insufficient_data"}


def test_a_backlog_keeps_a_stage_from_ending_but_not_from_being_rolled_back() -> None:
    long = timedelta(days=9)
    good = evidence_of(Stage.CANARY, events_of(Stage.CANARY, 6_000))
    assert judge(good, SPEC, {}, long).decision == "advance"
    assert judge(good, SPEC, {}, long, caught_up=False).decision == "stay"
    bad = evidence_of(Stage.CANARY, events_of(Stage.CANARY, 600, challenger=Quality(errors=1.0)))
    assert judge(bad, SPEC, {}, long, caught_up=False).decision == "roll_back"


def test_evidence_that_may_yet_become_a_stop_is_waited_for() -> None:
    evidence = evidence_of(Stage.CANARY, events_of(Stage.CANARY, 6_000))
    evidence.tests["errors"].log_sums = [3.0, 3.0, 3.0]  # an e-value of 20; 40 would stop it
    judged = judge(evidence, SPEC, {}, timedelta(days=9))
    (errors,) = [look for look in judged.looks if look.check == "errors"]
    assert (judged.decision, errors.verdict) == ("stay", "insufficient_data")
    assert "suspicious" in errors.note


@pytest.mark.parametrize(
    ("action", "stage", "after"),
    [
        ("promote", Stage.SHADOW, Stage.PROMOTING),
        ("promote", Stage.CANARY, Stage.PROMOTING),
        ("promote", Stage.WATCH, Stage.DONE),
        ("promote", Stage.AWAITING_APPROVAL, Stage.AWAITING_APPROVAL),
        ("promote", Stage.ROLLING_BACK, Stage.ROLLING_BACK),
        ("abort", Stage.AWAITING_APPROVAL, Stage.ROLLED_BACK),
        ("abort", Stage.PROMOTING, Stage.ROLLING_BACK),
        ("abort", Stage.WATCH, Stage.ROLLING_BACK),
        ("approve", Stage.AWAITING_APPROVAL, Stage.SHADOW),
        ("approve", Stage.CANARY, Stage.CANARY),
        ("pause", Stage.CANARY, Stage.CANARY),
    ],
)
def test_requests_move_only_where_they_make_sense(
    action: Action, stage: Stage, after: Stage
) -> None:
    taken = answer(
        rollout_in(
            stage, RolloutRequest(action=action, who="ada", why="reasons", wall_time=wall_now())
        )
    )
    assert taken.after is after
    assert taken.paused == (action == "pause")
    assert "ada" in taken.why
    if action != "pause":
        assert ("changes nothing" in taken.why) == (after is stage)


def test_looks_are_a_second_apart_and_closer_when_the_world_runs() -> None:
    assert [look_interval(speed) for speed in (None, 0.0, 1.0, 60.0, 480.0, 2400.0, 86400.0)] == [
        1,
        1,
        1,
        1,
        0.5,
        0.2,
        0.2,
    ]
    assert [backoff(n) for n in (1, 2, 6, 60)] == [0.5, 1.0, 15.0, 15.0]


def test_each_stages_route_has_the_arms_that_were_agreed() -> None:
    arms = {
        stage: [
            (arm.name, arm.version, arm.weight, arm.mode)
            for arm in route_of(rollout_in(stage), SPEC).arms
        ]
        for stage in (Stage.SHADOW, Stage.CANARY, Stage.WATCH, Stage.DONE)
    }
    assert arms == {
        Stage.SHADOW: [("champion", "1", 1.0, "live"), ("challenger", "2", 0.0, "shadow")],
        Stage.CANARY: [("champion", "1", 0.9, "live"), ("challenger", "2", 0.1, "live")],
        Stage.WATCH: [("champion", "2", 1.0, "live"), ("standby", "1", 0.0, "live")],
        Stage.DONE: [("champion", "2", 1.0, "live")],
    }


def test_a_corrected_label_is_evidence_as_if_it_had_been_right_at_once() -> None:
    events = events_of(Stage.WATCH, 300, challenger=Quality(flagged=0.3))
    right = [event for event in events if isinstance(event, Outcome)]
    first = {
        label.request_id: msgspec.structs.replace(
            label, label=1 - label.label, world_time=label.world_time - timedelta(hours=1)
        )
        for label in right[::5]
    }
    wrong_at_first = [
        first.get(event.request_id, event) if isinstance(event, Outcome) else event
        for event in events
    ]
    corrections: list[Event] = [label for label in right if label.request_id in first]
    begun = decode_evidence(encode_evidence(evidence_of(Stage.WATCH, wrong_at_first)))
    expected = evidence_of(Stage.WATCH, events)
    assert begun.labelled.happened != expected.labelled.happened
    found = evidence_of(Stage.WATCH, corrections, begun)
    assert (found.labelled.trials, found.labelled.happened) == (
        expected.labelled.trials,
        expected.labelled.happened,
    )
    assert found.tests == expected.tests
    repeated = evidence_of(
        Stage.WATCH, [*corrections, *first.values()], decode_evidence(encode_evidence(found))
    )
    assert repeated == found, "the same label again, and the older one again, change nothing"
