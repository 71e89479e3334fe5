"""What the shop does with an answer, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dojo.core.tasks.specs import load_spec
from dojo.shop.events import Action
from dojo.shop.truths import TRUTHS
from dojo.shop.uses import BANNER_EURO, CLICK_EURO, USES, USUAL_DAYS


@dataclass(frozen=True)
class Said:
    flagged: bool | None = None
    value: float | None = None
    high: float | None = None


@pytest.mark.parametrize(
    ("truth", "said", "stake"),
    [
        ("fraud", Said(flagged=True), 80.0),
        ("fraud", Said(flagged=False), None),
        ("defaulted", Said(flagged=True), 80.0),
        ("defaulted", Said(), None),
        ("cancelled", Said(flagged=True), 0.0),
        ("cancelled", Said(flagged=False), None),
        ("returned", Said(flagged=True), 0.0),
        ("clicked", Said(flagged=False), None),
        ("delivery_days", Said(value=2.2, high=3.4), 4.0),  # the promise is the interval's end
        ("delivery_days", Said(value=2.2), 3.0),
        ("delivery_days", Said(value=-1.0), 1.0),
        ("delivery_days", Said(), None),
        ("spent_30d", Said(value=2000.0), None),  # what the gift brings back, and no more
        ("spent_30d", Said(value=2001.0), 2001.0),
        ("spent_30d", Said(), None),
    ],
)
def test_an_answer_asks_for_an_action_or_for_none(
    truth: str, said: Said, stake: float | None
) -> None:
    assert USES[truth].stake(said, 80.0 if USES[truth].of_amount else 0.0) == stake


@pytest.mark.parametrize(
    ("truth", "action", "amount", "label", "works", "euro"),
    [
        ("fraud", "declined", 100.0, 1.0, 1.0, 115.0),
        ("fraud", "released", 100.0, 1.0, 1.0, 0.0),
        ("defaulted", "declined", 100.0, 1.0, 1.0, 60.0),
        ("defaulted", "declined", 100.0, 0.0, 1.0, -5.0),
        ("defaulted", "released", 100.0, 1.0, 1.0, 0.0),
        ("cancelled", "offered", 0.0, 1.0, 1.0, 55.0),  # kept
        ("cancelled", "offered", 0.0, 1.0, 0.0, -5.0),
        ("cancelled", "offered", 0.0, 1.0, 0.3, 13.0),  # the mean of such members
        ("cancelled", "offered", 0.0, 0.0, 1.0, -5.0),  # would have stayed
        ("cancelled", "released", 0.0, 1.0, 1.0, 0.0),
        ("delivery_days", "promised", 3.0, 3.0, 1.0, 0.3),  # two days less to wait for
        ("delivery_days", "promised", 3.0, 3.01, 1.0, -3.7),  # late, and not by the usual promise
        ("delivery_days", "promised", 7.0, 6.0, 1.0, 3.7),  # late by the usual promise alone
        ("delivery_days", "promised", USUAL_DAYS, 6.0, 1.0, 0.0),
        ("returned", "prepared", 0.0, 1.0, 1.0, 3.6),
        ("returned", "prepared", 0.0, 0.0, 1.0, -0.4),
        ("clicked", "upgraded", 0.0, 1.0, 1.0, 0.4),
        ("clicked", "upgraded", 0.0, 0.0, 1.0, -0.02),
        ("spent_30d", "gifted", 2500.0, 3000.0, 1.0, 5.0),
        ("spent_30d", "gifted", 2500.0, 0.0, 1.0, -10.0),
    ],
)
def test_an_action_is_worth_what_differs_from_a_shop_without_the_model(
    truth: str, action: Action, amount: float, label: float, works: float, euro: float
) -> None:
    assert USES[truth].worth(action, amount, label, works) == pytest.approx(euro)


def test_every_use_is_of_a_truth_and_of_all_models_but_lists_and_prices() -> None:
    specs = [load_spec(path) for path in Path("models").glob("*.yaml")]
    decided_together = {"search_ranking", "recommendation", "demand"}
    assert {spec.name for spec in specs if spec.label.truth not in USES} == decided_together
    assert set(USES) <= set(TRUTHS)


def test_a_banner_is_worth_what_its_bandit_earns() -> None:
    bandit = load_spec(Path("models/banner.yaml")).bandit
    assert bandit is not None
    reward = bandit.reward
    assert (reward.flagged_positive, reward.flagged_negative) == (CLICK_EURO, -BANNER_EURO)


def test_the_usual_promise_is_the_answer_without_a_version() -> None:
    spec = load_spec(Path("models/delivery_time.yaml"))
    assert spec.serving.fallback_score == USUAL_DAYS
