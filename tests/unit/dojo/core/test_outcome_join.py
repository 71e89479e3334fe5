"""A prediction and its outcome meet once, in any order, and the stream's join equals the lake's."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo.core.events.columns import frame_of
from dojo.core.events.types import Event, Outcome, Prediction, Stream
from dojo.core.judging.rollout.evidence import LabelJoin
from dojo.core.outcome_join import WAITING_LIMIT, OutcomeJoin
from dojo.core.performance import with_outcomes
from dojo.core.tasks.specs import load_spec, task_of
from dojo.demo.showing.tally import Tally

NOON = datetime(2018, 6, 10, 12, tzinfo=UTC)

# Labels of several kinds of models: a class, an amount, a list of clicks, or no result.
LABELS = [0, 1, 37.5, ("clicked", "bought"), None, False]


def prediction(request: str, flagged: bool) -> Prediction:
    return Prediction(
        event_id=Prediction.id_for(request),
        world_time=NOON,
        wall_time=NOON,
        prediction_id=request,
        request_id=request,
        model="any",
        version="1",
        arm="champion",
        entity_keys={},
        features={},
        feature_age_seconds={},
        score=0.5,
        flagged=flagged,
        latency_seconds=0.01,
    )


def outcome(request: str, label: int, days: int = 2) -> Outcome:
    return Outcome(
        event_id=Outcome.id_for("fraud_detection", request),
        world_time=NOON + timedelta(days=days),
        wall_time=NOON,
        model="fraud_detection",
        request_id=request,
        request_time=NOON,
        label=label,
    )


@given(st.permutations(range(12)), st.lists(st.sampled_from(LABELS), min_size=6, max_size=6))
def test_each_answer_meets_its_label_once_in_any_order_whatever_the_label(
    order: list[int], labels: list[object]
) -> None:
    join: OutcomeJoin[str, object] = OutcomeJoin()
    pairs = [
        (
            join.predicted(f"r{at % 6}", f"answer {at % 6}")
            if at < 6
            else join.known(f"r{at % 6}", labels[at % 6])
        )
        for at in order
    ]
    assert sorted(str(pair) for pair in pairs if pair) == sorted(
        str((f"answer {n}", labels[n])) for n in range(6)
    )
    assert (join.open, join.early, join.forgotten) == ({}, {}, 0)


def test_what_waits_is_bounded_on_both_sides_and_forgotten_answers_are_counted() -> None:
    join: OutcomeJoin[bool, bool] = OutcomeJoin()
    for n in range(WAITING_LIMIT + 10):
        join.predicted(f"r{n}", False)
        join.known(f"label {n}", True)
    assert (len(join.open), len(join.early), join.forgotten) == (WAITING_LIMIT, WAITING_LIMIT, 10)
    assert join.known("r0", True) is None
    assert join.predicted("label 0", True) is None
    assert join.known(f"r{WAITING_LIMIT}", True) == (False, True)


def test_a_join_that_is_stored_in_between_forgets_nothing() -> None:
    """A rollout's evidence is written at every look, and read again after a restart."""
    before = LabelJoin(trials={"missed": 2}, happened={"missed": 1})
    before.predicted("r1", 1)
    before.known("r2", 37.5)
    after = msgspec.msgpack.decode(msgspec.msgpack.encode(before), type=LabelJoin)
    assert after == before
    assert (after.known("r1", 0), after.predicted("r2", 12.5)) == ((1, 0), (12.5, 37.5))


def test_an_older_label_that_comes_late_corrects_nothing() -> None:
    join: OutcomeJoin[str, int] = OutcomeJoin()
    assert join.known("early", 1, at=7.0) is None
    assert join.known("early", 0, at=5.0) is None
    assert join.predicted("early", "answer") == ("answer", 1)
    assert join.corrected("early", 0, at=6.0) is None
    assert join.corrected("early", 1, at=8.0) is None, "the same label again"
    assert join.corrected("early", 0, at=7.5) is None, "the label at 8 is a later one"
    assert join.corrected("early", 0, at=9.0) == ("answer", 1)
    assert list(join.paired.values()) == [("answer", 0)]
    assert join.corrected("never answered", 0, at=9.0) is None


def test_pairs_that_may_still_be_corrected_are_bounded_too() -> None:
    join: OutcomeJoin[bool, int] = OutcomeJoin(limit=10)
    for n in range(15):
        join.predicted(f"r{n}", False)
        assert join.known(f"r{n}", 0, at=float(n)) == (False, 0)
    assert (len(join.paired), len(join.known_at)) == (10, 10)
    assert join.corrected("r4", 1, at=99.0) is None
    assert join.corrected("r5", 1, at=99.0) == (False, 0)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Requests with and without an outcome, and outcomes of unseen requests.

    Repeated halves and corrections are among them, in any order.
    """
    events: list[Event] = []
    for n in range(draw(st.integers(0, 8))):
        halves = [
            prediction(f"r{n}", draw(st.booleans())),
            outcome(f"r{n}", draw(st.integers(0, 1))),
        ]
        events += draw(
            st.sampled_from(
                [halves, halves[:1], halves[1:], [*halves, halves[0]], [*halves, halves[1]]]
            )
        )
        events += [
            outcome(f"r{n}", draw(st.integers(0, 1)), days)
            for days in draw(st.sets(st.integers(3, 5)))
        ]
    return draw(st.permutations(events))


@settings(max_examples=60, deadline=None)
@given(histories())
def test_the_stream_and_the_lake_find_the_same_pairs(events: list[Event]) -> None:
    join: OutcomeJoin[Prediction, int] = OutcomeJoin()
    tally = Tally()
    streamed: dict[str, tuple[bool, int]] = {}
    pairs = 0
    for event in events:
        if isinstance(event, Prediction):
            tally.add_prediction(event)
            joined = join.predicted(event.request_id, event)
        else:
            assert isinstance(event, Outcome)
            tally.add_outcome(event)
            label, at = int(event.label), event.world_time.timestamp()
            if (before := join.corrected(event.request_id, label, at)) is not None:
                assert streamed[event.request_id] == (before[0].flagged, before[1])
                streamed[event.request_id] = bool(before[0].flagged), label
            joined = join.known(event.request_id, label, at)
        if joined is not None:
            answer, label = joined
            streamed[answer.request_id] = bool(answer.flagged), label
            pairs += 1

    predictions, outcomes = (
        [e for e in events if e.stream == stream]
        for stream in (Stream.PREDICTIONS, Stream.OUTCOMES)
    )
    frames = (
        frame_of(Stream.PREDICTIONS, predictions).lazy(),
        frame_of(Stream.OUTCOMES, outcomes).lazy(),
    )
    batch = (
        with_outcomes(*frames, how="inner")
        .select("request_id", "flagged", "label")
        .collect()
        .rows()
    )

    assert streamed == {request: (flagged, label) for request, flagged, label in batch}
    assert pairs == len(batch), "a pair was met twice"
    cells = Counter((label, flagged) for _, flagged, label in batch)
    seen = tally.snapshot()
    assert (seen.caught, seen.missed, seen.false_alarms) == (
        cells[1, True],
        cells[1, False],
        cells[0, True],
    )
    assert seen.labelled == len(batch)
    kept = with_outcomes(*frames, how="left").collect()
    assert kept.height == seen.predictions
    assert kept["label"].null_count() == seen.predictions - len(batch)


@pytest.mark.parametrize(
    ("flagged", "positive"), [(True, True), (False, True), (True, False), (False, False)]
)
def test_a_pair_counts_in_its_cell(flagged: bool, positive: bool) -> None:
    """A positive is a trial of missed positives, another label is a trial of false alarms.

    A second pair adds to the first.
    """
    task, counts = task_of(load_spec(Path("models/fraud_detection.yaml"))), LabelJoin()
    test = "missed" if positive else "false_positives"
    for pairs in (1, 2):
        for name, happened in task.trials(task.kept(0.5, flagged), float(positive), {}).items():
            counts.count(name, happened)
        assert counts.trials == {test: pairs}
        assert counts.happened == {test: pairs * (flagged is not positive)}
