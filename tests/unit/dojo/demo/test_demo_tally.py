from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from dojo.core.events.types import Outcome, Prediction
from dojo.demo.showing.tally import Tally
from dojo.shop.events import Transaction
from dojo.stats.scores.classification import MINIMUM_POSITIVES

NOW = datetime(2018, 6, 1, tzinfo=UTC)


def prediction(
    request_id: str, score: float, flagged: bool, degraded: tuple[str, ...] = ()
) -> Prediction:
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
            event = msgspec.structs.replace(
                prediction(f"{version}-{n}", 0.5, flagged), version=version
            )
            tally.add_prediction(event)
            tally.add_outcome(outcome(f"{version}-{n}", 1))
    seen = tally.snapshot().by_version
    assert [(v, s.predictions, s.caught, s.missed, s.catch_rate) for v, s in seen.items()] == [
        ("1", 3, 0, 3, 0.0),
        ("2", 3, 3, 0, 1.0),
    ]


def payment(request_id: str, amount: float) -> Transaction:
    return Transaction(
        event_id=Transaction.id_for(request_id),
        world_time=NOW,
        wall_time=NOW,
        transaction_id=request_id,
        customer_id="1",
        merchant_id="1",
        amount=amount,
    )


def test_what_the_fallback_let_pass_counts_with_the_payments_own_amounts() -> None:
    """An answer of the fallback carries no features."""
    tally = Tally()
    for name, amount in (("fraud", 25.0), ("legitimate", 1000.0)):
        tally.add_transaction(payment(name, amount))
        tally.add_prediction(
            msgspec.structs.replace(prediction(name, 0.0, False), version="0", features={})
        )
    tally.add_outcome(outcome("fraud", 1))
    tally.add_outcome(outcome("legitimate", 0))
    fallback = tally.snapshot().by_version["0"]
    assert (fallback.missed, fallback.missed_euro, fallback.caught_euro) == (1, 25.0, 0.0)


def test_amounts_of_payments_without_an_answer_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dojo.demo.showing.tally.AMOUNTS", 2)
    tally = Tally()
    for n in range(5):
        tally.add_transaction(payment(str(n), 1.0))
    assert list(tally._amounts) == ["3", "4"]


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
