"""What the shop does with a model's answers one by one, and what that is worth in euros.

Each is compared with the same world without the model. That shop passes every payment, grants every
credit, and promises USUAL_DAYS to all. It prepares no parcel, shows the house banner, and sends
neither offers nor gifts. Lists and prices are decided together (lists.py, prices.py).

Some actions change the truth, so they hide it. Their labels are known for a control group alone,
which chance chooses. The shop takes these actions only where `DOJO_DECISIONS` is not `none`.

The euros are round numbers of common size. An action costs something each time, so a version
without skill gains little or loses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from dojo.shop.decisions import value_euro
from dojo.shop.events import Action

# A shop without a model promises so many days to everyone. It keeps 88 % of such promises.
USUAL_DAYS = 5.0

# Of 100 customers, five look elsewhere for each promised day. An order earns 3 euro.
WAITING_EURO = 0.15

# A late parcel brings a call at the service desk, and a voucher.
LATE_EURO = 4.0

# A return label in the parcel, and a bag that closes twice.
PREPARED_EURO = 0.4

# What a prepared return saves at the returns desk.
RETURN_EURO = 4.0

# The advertiser of the better banner pays this for a click. Showing it in vain costs the other.
# models/banner.yaml says the same of a bandit's reward.
CLICK_EURO = 0.4
BANNER_EURO = 0.02

# Of an unpaid purchase. A part of it is paid before, or collected later.
LOSS_SHARE = 0.6

# What the shop earns on a credit, a fraction of the amount, and what a refusal costs beyond that.
CREDIT_MARGIN = 0.04
REFUSAL_EURO = 1.0

# A month without a fee for a member who may leave. It keeps this share of those who would.
OFFER_EURO = 5.0
KEPT_SHARE = 0.3

# What a kept member pays in fees until the next time of leaving.
MEMBER_EURO = 60.0

# Share of the flagged members without an offer. Half of them measure the effect on few members.
CONTROL_SHARE = 0.5

# A gift to a member, and what it brings of the month's spending. It pays from 2,000 euro on.
GIFT_EURO = 10.0
GIFT_SHARE = 0.005


class UsableAnswer(Protocol):
    """What the shop reads of an answer. None for what the model's task has not."""

    @property
    def flagged(self) -> bool | None: ...
    @property
    def value(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Use:
    """How the shop uses the answers about one truth.

    Attributes:
        action: What it does.
        stake: From an answer and the event's amount to the decision's amount. None if nothing is
            done.
        worth: From (action, amount, label, works) to euro. `works` is 1 where the action has its
            effect, and 0 where it has none. In between it is the mean of such cases.
        effect: Share of the cases in which it works.
        hides: The labels that an action keeps from becoming known. `label` is this one. `event` is
            every label about the event, which fails.
        control: Share of the answers without the action. None for `DOJO_RELEASE_SHARE`.
        of_amount: True if the event's amount is at stake. The others have none.
        reviewed: True if reviewers may look at it.
    """

    action: Action
    stake: Callable[[UsableAnswer, float], float | None]
    worth: Callable[[Action, float, float, float], float]
    effect: float = 1.0
    hides: Literal["nothing", "label", "event"] = "nothing"
    control: float | None = None
    of_amount: bool = False
    reviewed: bool = False


def _amount_if_flagged(answer: UsableAnswer, amount: float) -> float | None:
    return amount if answer.flagged else None


def promised_days(answer: UsableAnswer, amount: float) -> float | None:
    """Return the whole days within which the parcel is promised."""
    days = answer.value if answer.high is None else answer.high
    return None if days is None else max(1.0, float(math.ceil(days)))


def _gift(answer: UsableAnswer, amount: float) -> float | None:
    pays = answer.value is not None and answer.value * GIFT_SHARE > GIFT_EURO
    return answer.value if pays else None


def _promise_worth(action: Action, promised: float, days: float, works: float) -> float:
    def cost(promise: float) -> float:
        return WAITING_EURO * promise + (LATE_EURO if days > promise else 0.0)

    return round(cost(USUAL_DAYS) - cost(promised), 2)


def _refusal_worth(action: Action, amount: float, defaulted: float, works: float) -> float:
    if action == "released":
        return 0.0
    gained = LOSS_SHARE * amount if defaulted else -(CREDIT_MARGIN * amount + REFUSAL_EURO)
    return round(gained, 2)


def _offer_worth(action: Action, amount: float, cancelled: float, works: float) -> float:
    if action == "released":
        return 0.0
    return round(MEMBER_EURO * works * cancelled - OFFER_EURO, 2)


USES: Mapping[str, Use] = {
    "fraud": Use(
        "declined",
        _amount_if_flagged,
        lambda action, amount, fraud, works: value_euro(action, bool(fraud), amount),
        hides="event",
        of_amount=True,
        reviewed=True,
    ),
    "defaulted": Use("declined", _amount_if_flagged, _refusal_worth, hides="event", of_amount=True),
    "cancelled": Use(
        "offered",
        _amount_if_flagged,
        _offer_worth,
        effect=KEPT_SHARE,
        hides="label",
        control=CONTROL_SHARE,
    ),
    "delivery_days": Use("promised", promised_days, _promise_worth),
    "returned": Use(
        "prepared",
        _amount_if_flagged,
        lambda action, amount, returned, works: (RETURN_EURO if returned else 0.0) - PREPARED_EURO,
    ),
    "clicked": Use(
        "upgraded",
        _amount_if_flagged,
        lambda action, amount, clicked, works: CLICK_EURO if clicked else -BANNER_EURO,
    ),
    "spent_30d": Use(
        "gifted",
        _gift,
        lambda action, amount, spent, works: round(GIFT_SHARE * spent - GIFT_EURO, 2),
    ),
}
