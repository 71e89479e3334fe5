"""What follows from decisions about single events: hidden labels, weights, orders and euros."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import polars as pl
import pytest

from dojo.core.events.types import Outcome
from dojo.core.spec.schema import Label
from dojo.core.tasks.specs import load_spec
from dojo.shop.decisions import Policy
from dojo.shop.events import BANNERS, CREDITS, MEMBERSHIPS, ORDERS, TRANSACTIONS
from services.simulator.decisions import Decided, Decisions
from services.simulator.feed import DueBatch
from services.simulator.gateway_client import GatewayAnswer, GatewayReply

NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=2)
DECLINE = Policy("decline", 0, 0.0)

MODELS = (
    "fraud_detection",
    "pay_later",
    "churn",
    "customer_value",
    "delivery_time",
    "return_risk",
    "banner",
)
LABELS: dict[str, Label] = {name: load_spec(Path(f"models/{name}.yaml")).label for name in MODELS}

PAYMENTS = pl.DataFrame(
    {
        "transaction_id": ["t0", "t1"],
        "time": [NOON, NOON],
        "amount": [100.0, 40.0],
        "label": [1, 0],
    }
)
CREDIT = pl.DataFrame({"credit_id": ["Lt0"], "time": [NOON], "amount": [50.0]})
STATEMENTS = pl.DataFrame({"membership_id": [f"K{n}" for n in range(200)], "time": [NOON] * 200})
ORDER = pl.DataFrame({"order_id": ["Ot0"], "time": [NOON]})
VISITS = pl.DataFrame({"impression_id": ["V0", "V1"], "time": [NOON, NOON]})
EVENTS = {
    TRANSACTIONS: PAYMENTS,
    CREDITS: CREDIT,
    MEMBERSHIPS: STATEMENTS,
    ORDERS: ORDER,
    BANNERS: VISITS,
}


def said(
    model: str,
    row: int = 0,
    version: str = "3",
    flagged: bool | None = None,
    value: float | None = None,
) -> GatewayReply:
    answer = GatewayAnswer("p", version, "champion", flagged=flagged, value=value)
    return GatewayReply(model, row, "scored", 0.001, answer)


def decide(decisions: Decisions, *replies: GatewayReply) -> Decided:
    return decisions.decide(EVENTS, replies, NOON)


def outcomes(*rows: tuple[str, str, float]) -> pl.DataFrame:
    """Rows of model, event and label."""
    return pl.DataFrame(
        [
            {
                "model": model,
                "request_id": event,
                "time": NOON,
                "label": label,
                "weight": 1.0,
                "arrival": LATER,
            }
            for model, event, label in rows
        ]
    )


def test_a_refused_credit_has_no_label_and_is_worth_the_loss() -> None:
    decisions = Decisions(DECLINE, LABELS, seed=1)
    made = decide(decisions, said("pay_later", flagged=True))
    (one,) = made.decisions
    assert (one.action, one.amount, one.request_id) == ("declined", 50.0, "Lt0")
    (hidden,) = (cast("Outcome", event) for event in made.hidden)
    assert (hidden.model, hidden.label, hidden.hidden_by) == ("pay_later", None, "declined")
    known, settled = decisions.due(outcomes(("pay_later", "Lt0", 1.0)), NOON)
    assert known.height == 0
    assert [(e.model, e.value_euro, e.world_time) for e in settled] == [("pay_later", 30.0, LATER)]


def test_a_credits_refusal_leaves_the_payments_order_alone() -> None:
    decisions = Decisions(DECLINE, LABELS, seed=1)
    decide(decisions, said("pay_later", flagged=True))
    batch = DueBatch({ORDERS: ORDER}, pl.DataFrame(), LATER)
    assert decisions.happening(batch).events[ORDERS].height == 1
    decide(decisions, said("fraud_detection", flagged=True))
    assert decisions.happening(batch).events[ORDERS].height == 0


def test_half_of_the_flagged_members_get_no_offer_and_stand_for_all() -> None:
    decisions = Decisions(DECLINE, LABELS, seed=1)
    flagged = [said("churn", row, flagged=True) for row in range(200)]
    made = decide(decisions, *flagged)
    offered = [one for one in made.decisions if one.action == "offered"]
    released = [one for one in made.decisions if one.action == "released"]
    assert len(offered) + len(released) == 200
    assert 70 < len(released) < 130
    assert {cast("Outcome", event).request_id for event in made.hidden} == {
        one.request_id for one in offered
    }
    assert {cast("Outcome", event).model for event in made.hidden} == {"churn"}
    rows = outcomes(
        *(("churn", f"K{n}", 1.0) for n in range(200)),
        *(("customer_value", f"K{n}", 900.0) for n in range(200)),
    )
    known, settled = decisions.due(rows, NOON)
    churn = known.filter(model="churn")
    assert set(churn["request_id"]) == {one.request_id for one in released}
    assert set(churn["weight"]) == {2.0}
    assert known.filter(model="customer_value")["weight"].to_list() == [1.0] * 200
    worth = {one.request_id: one.value_euro for one in settled}
    assert {worth[one.request_id] for one in released} == {0.0}
    kept = sum(worth[one.request_id] == 55.0 for one in offered)
    assert 0.15 < kept / len(offered) < 0.45
    assert {worth[one.request_id] for one in offered} == {55.0, -5.0}


def test_actions_that_hide_labels_wait_for_the_setting_and_others_do_not() -> None:
    decisions = Decisions(Policy("none", 0, 1.0), LABELS, seed=1)
    made = decide(
        decisions,
        said("fraud_detection", flagged=True),
        said("pay_later", flagged=True),
        said("churn", flagged=True),
        said("return_risk", flagged=True),
        said("banner", flagged=True),
        said("delivery_time", value=2.5),
        said("customer_value", value=5000.0),
    )
    assert [(one.model, one.action) for one in made.decisions] == [
        ("return_risk", "prepared"),
        ("banner", "upgraded"),
        ("delivery_time", "promised"),
        ("customer_value", "gifted"),
    ]
    assert made.hidden == []
    assert {one.release_share for one in made.decisions} == {0.0}


def test_two_models_decide_about_one_order_and_each_is_settled_with_its_label() -> None:
    decisions = Decisions(DECLINE, LABELS, seed=1)
    decide(decisions, said("delivery_time", value=2.5), said("return_risk", flagged=True))
    rows = outcomes(("delivery_time", "Ot0", 4.5), ("return_risk", "Ot0", 1.0))
    known, settled = decisions.due(rows, NOON)
    assert known["weight"].to_list() == [1.0, 1.0]
    # Three days instead of five save 0.3 euro, and the parcel is late.
    assert {e.model: e.value_euro for e in settled} == {"delivery_time": -3.7, "return_risk": 3.6}
    assert len({e.event_id for e in settled}) == 2


@pytest.mark.parametrize(
    "reply",
    [
        said("banner", flagged=False),
        said("banner", version="0", flagged=True),  # the fallback, no version
        GatewayReply("banner", 0, "timeout", 0.5),
        said("unknown", flagged=True),
    ],
)
def test_what_flags_nothing_decides_nothing(reply: GatewayReply) -> None:
    assert decide(Decisions(DECLINE, LABELS, seed=1), reply) == Decided()


def test_an_event_is_decided_once_by_the_first_model_of_its_truth() -> None:
    labels = {**LABELS, "second": LABELS["banner"]}
    decisions = Decisions(DECLINE, labels, seed=1)
    made = decide(decisions, said("second", flagged=True), said("banner", flagged=True))
    assert [one.model for one in made.decisions] == ["second"]
    assert decide(decisions, said("banner", flagged=True)) == Decided()
    _, settled = decisions.due(outcomes(("banner", "V0", 1.0), ("second", "V0", 1.0)), NOON)
    assert [one.model for one in settled] == ["second"]


def test_a_decision_is_forgotten_when_its_label_is_long_due() -> None:
    labels = {"banner": LABELS["banner"]}  # known after half an hour, at most ten times as late
    decisions = Decisions(DECLINE, labels, seed=1)
    decide(decisions, said("banner", flagged=True))

    def again(days: int) -> list[float]:
        time, name = NOON + timedelta(days=days), f"V{days}"
        later = pl.DataFrame({"impression_id": [name], "time": [time]})
        decisions.decide({BANNERS: later}, [said("banner", flagged=True)], NOON)
        _, settled = decisions.due(outcomes(("banner", "V0", 1.0)), NOON)
        return [one.value_euro for one in settled]

    assert again(5) == [0.4]
    assert again(7) == []


def test_a_nightly_decision_has_its_own_time_and_hides_the_statements_label() -> None:
    decisions = Decisions(DECLINE, LABELS, seed=1)
    flagged = [said("churn", row, flagged=True) for row in range(20)]
    made = decisions.decide({MEMBERSHIPS: STATEMENTS}, flagged, NOON, LATER)
    assert {one.world_time for one in made.decisions} == {LATER}
    hidden = [cast("Outcome", event) for event in made.hidden]
    assert {(one.world_time, one.request_time) for one in hidden} == {(LATER, NOON)}
