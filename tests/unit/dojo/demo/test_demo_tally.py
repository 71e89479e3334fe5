from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from dojo.core.events.types import Outcome, Prediction
from dojo.demo.showing.tally import Tally
from dojo.stats.scores.classification import MINIMUM_POSITIVES

NOW = datetime(2018, 6, 1, tzinfo=UTC)


def prediction(request_id: str, score: float, flagged: bool, degraded: tuple[str, ...] = ()) -> Prediction:
    return Prediction(
        event_id=Prediction.id_for(request_id),
        world_time=NOW,
        wall_time=NOW,
        prediction_id=request_id,
        request_id=request_id,
        model="fraud_detection",
        version="1",
        arm="champion",
        entity_keys={"customer": "1"},
        features={"amount": 10.0},
        feature_age_seconds={},
        score=score,
        flagged=flagged,
        latency_seconds=0.002,
        degraded=degraded,
    )


def outcome(request_id: str, label: int) -> Outcome:
    return Outcome(
        event_id=Outcome.id_for("fraud_detection", request_id),
        world_time=NOW + timedelta(days=2),
        wall_time=NOW,
        model="fraud_detection",
        request_id=request_id,
        request_time=NOW,
        label=label,
    )


def test_an_outcome_counts_once_whichever_of_the_two_events_comes_first_or_again() -> None:
    tally = Tally()
    for _ in range(2):
        tally.add_outcome(outcome("early", 1))
        tally.add_prediction(prediction("early", 0.9, flagged=True))
        tally.add_prediction(prediction("late", 0.1, flagged=False))
        tally.add_outcome(outcome("late", 1))
    seen = tally.snapshot()
    assert (seen.predictions, seen.labelled, seen.caught, seen.missed) == (2, 2, 1, 1)
    assert seen.catch_rate == 0.5
    assert (seen.caught_euro, seen.missed_euro) == (10.0, 10.0)


def test_each_version_is_told_apart() -> None:
    tally = Tally()
    for version, flagged in (("1", False), ("2", True)):
        for n in range(3):
            event = msgspec.structs.replace(prediction(f"{version}-{n}", 0.5, flagged), version=version)
            tally.add_prediction(event)
            tally.add_outcome(outcome(f"{version}-{n}", 1))
    seen = tally.snapshot().by_version
    assert [(v, s.predictions, s.caught, s.missed, s.catch_rate) for v, s in seen.items()] == [
        ("1", 3, 0, 3, 0.0),
        ("2", 3, 3, 0, 1.0),
    ]


def test_outcomes_of_payments_that_were_never_predicted_do_not_count() -> None:
    tally = Tally()
    tally.add_outcome(outcome("history", 1))
    seen = tally.snapshot()
    assert seen.labelled == 0
    assert seen.catch_rate is None


def test_rates_and_pr_auc_say_insufficient_data_until_there_are_enough_frauds() -> None:
    tally = Tally()
    for i in range(MINIMUM_POSITIVES - 1):
        tally.add_prediction(prediction(f"fraud{i}", 0.9, flagged=True))
        tally.add_outcome(outcome(f"fraud{i}", 1))
    tally.add_prediction(prediction("fine", 0.1, flagged=False))
    tally.add_outcome(outcome("fine", 0))
    assert tally.snapshot().pr_auc is None
    tally.add_prediction(prediction("one more", 0.9, flagged=True))
    tally.add_outcome(outcome("one more", 1))
    assert tally.snapshot().pr_auc == pytest.approx(1.0)
    assert tally.snapshot().false_positive_rate == 0.0


def test_degraded_answers_are_counted_by_reason() -> None:
    tally = Tally()
    tally.add_prediction(prediction("a", 0.1, flagged=False, degraded=("cold_start",)))
    tally.add_prediction(prediction("b", 0.1, flagged=False))
    assert tally.snapshot().degraded == {"cold_start": 1}


def test_a_corrected_label_moves_its_payment_to_the_other_side() -> None:
    tally = Tally()
    for request, flagged in (("a", True), ("b", False)):
        tally.add_prediction(prediction(request, 0.9, flagged))
        tally.add_outcome(outcome(request, 1))
    later = msgspec.structs.replace(outcome("a", 0), world_time=NOW + timedelta(days=3))
    for event in (later, later, outcome("a", 1)):  # once more, and the first one again
        tally.add_outcome(event)
    seen = tally.snapshot()
    assert (seen.labelled, seen.caught, seen.missed, seen.false_alarms) == (2, 0, 1, 1)
    assert (seen.caught_euro, seen.missed_euro) == (0.0, 10.0)
