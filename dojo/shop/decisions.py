"""What the shop does about a flagged payment, and what that is worth.

Chance is decided by the payment's id, as everywhere in the world. So a repeated decision is the
same decision.

A declined payment has no label, because its truth never shows. Labels of the payments that pass
are then *selective*. A small share of the flagged payments is released by chance. Their labels
stand for all flagged payments, with the weight 1 / share.

Source: Crook and Banasik, Does reject inference really improve the performance of application
scoring models? (2004), for the bias. Horvitz and Thompson (1952), for the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dojo.shop.events import Action

Mode = Literal["none", "decline", "review"]

# What keeps a payment from happening.
STOPPED: frozenset[Action] = frozenset({"declined", "rejected"})

# What a reviewer works on.
REVIEWED: frozenset[Action] = frozenset({"rejected", "approved"})

# Share of reviews that see the truth. Studies of manual review report 90 to 97 %.
REVIEWER_RIGHT = 0.95

# The bank's fee for each disputed payment, euro. Usual fees are 15 to 25.
CHARGEBACK_EURO = 15.0

# What the shop earns on a payment, a fraction of its amount.
MARGIN = 0.10

# What an honest customer's failed payment costs beyond the sale, euro. Some of them stay away.
ANNOYANCE_EURO = 3.0

# Five minutes of a reviewer at 30 euro an hour.
REVIEW_EURO = 2.5


@dataclass(frozen=True, slots=True)
class Policy:
    """How the shop acts.

    Attributes:
        mode: `none` lets every payment pass. `decline` declines what is flagged. `review` gives it
            to reviewers and declines what is beyond their capacity.
        reviews_per_day: Payments that the reviewers can look at, per world day.
        release_share: Share of the flagged payments that passes by chance, a fraction.
    """

    mode: Mode
    reviews_per_day: int
    release_share: float

    @property
    def acts(self) -> bool:
        return self.mode != "none"

    def action(self, is_fraud: bool, reviewed: int, release: float, review: float) -> Action:
        """Decide about a flagged payment.

        Args:
            is_fraud: The truth, for the reviewer.
            reviewed: Reviews on this world day so far.
            release: Chance of this payment in (0, 1].
            review: Another chance of this payment in (0, 1].
        """
        if release <= self.release_share:
            return "released"
        if self.mode == "review" and reviewed < self.reviews_per_day:
            seen_as_fraud = is_fraud == (review <= REVIEWER_RIGHT)
            return "rejected" if seen_as_fraud else "approved"
        return "declined"


def value_euro(action: Action, is_fraud: bool, amount: float) -> float:
    """Return what a decision gains against letting the payment pass, euro.

    Args:
        action: What the shop did.
        is_fraud: The truth.
        amount: The payment's amount, euro.
    """
    cost = REVIEW_EURO if action in REVIEWED else 0.0
    if action not in STOPPED:
        return -cost
    gained = amount + CHARGEBACK_EURO if is_fraud else -(MARGIN * amount + ANNOYANCE_EURO)
    return round(gained - cost, 2)
