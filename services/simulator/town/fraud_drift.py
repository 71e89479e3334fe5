"""Fraudsters who change their method while the world runs.

It makes the kinds `concept` and `prediction` on a synthetic day.

Honest payments are untouched. A payment that the old method had made fraudulent becomes honest
again. Payments that a new method adds get numbers behind the day's own. So every payment that both
worlds have has the same id in both.

    concept     each old fraud happens with a probability that falls by the drift's level. About as
                many sleepers come instead
    prediction  other crews join the patterns that show at once (cards, testing, takeovers, large
                amounts)

`prediction` leaves out the skimmed merchants. They are known by their labels, a week late, and new
ones would be a new concept at first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import numpy.typing as npt

from dojo.core.lake import start_of
from dojo.shop.world_drift import ActiveDrift
from services.simulator.town.fraud import FraudPatterns
from services.simulator.town.intensity import Times, intensities, levels, microseconds
from services.simulator.town.payments import Payments
from services.simulator.town.population import Habits, Ints

# Patterns of the wave, which show in the payment and in the history just before it.
WAVE = ("card", "large", "testing", "takeover")

_SLEEPER_CREW = 1
_WAVE_CREW = 2

Bools = npt.NDArray[np.bool_]


class FraudDrift:
    """What else could happen on a synthetic world's days.

    Args:
        own: The world's own fraudsters.
    """

    def __init__(self, own: FraudPatterns, seed: int) -> None:
        self._own = own
        self._seed = seed
        self._sleepers = own.others(_all_as_sleepers, _SLEEPER_CREW)

    def change(
        self,
        ordinary: Payments,
        lived: Payments,
        numbers: Ints,
        habits: Habits,
        day: date,
        drifts: Iterable[ActiveDrift],
    ) -> tuple[Payments, Ints]:
        """The day as drifts make it, with the payments' numbers.

        Args:
            ordinary: The day without fraud.
            lived: The undisturbed day. It has the same payments, some of them fraud, and added
                payments behind.
            numbers: Numbers of `lived`, unique from 0.
        """
        drifts = tuple(drift for drift in drifts if drift.kind in ("concept", "prediction"))
        honest = len(ordinary.seat)
        chance = np.random.default_rng([self._seed, 6, day.toordinal()]).random(len(lived.seat))
        gone = (lived.label == 1) & (chance < levels(drifts, "concept", _times(lived, day)))
        payments = _without(ordinary, lived, gone)
        numbers = numbers[(np.arange(len(lived.seat)) < honest) | ~gone]
        next_number = len(lived.seat)
        for drift in drifts:  # in the order they began, so that a later drift takes later numbers
            crew = (
                self._sleepers
                if drift.kind == "concept"
                else self._own.others(_wave(drift.strength), _WAVE_CREW)
            )
            share = drift.strength if drift.kind == "concept" else 1.0
            random = np.random.default_rng(
                [self._seed, 7, day.toordinal(), crew.crew, microseconds(drift.started)]
            )
            theirs = crew.commit(ordinary, habits, day, random)
            happens = (theirs.label == 1) & (
                random.random(len(theirs.label)) < share * intensities(drift, _times(theirs, day))
            )
            payments = _joined(payments, theirs, happens, honest)
            numbers = np.concatenate([numbers, next_number + np.flatnonzero(happens[honest:])])
            next_number += len(theirs.seat) - honest
        return payments, numbers


def _all_as_sleepers(own: Mapping[str, float]) -> Mapping[str, float]:
    return dict.fromkeys(own, 0.0) | {"sleeper": sum(own.values())}


def _wave(strength: float) -> Callable[[Mapping[str, float]], Mapping[str, float]]:
    """Crews that bring all fraud together to `strength` times the usual."""

    def joining(own: Mapping[str, float]) -> Mapping[str, float]:
        more = (strength - 1) * sum(own.values()) / sum(own[pattern] for pattern in WAVE)
        return {pattern: more * count if pattern in WAVE else 0.0 for pattern, count in own.items()}

    return joining


def _times(payments: Payments, day: date) -> Times:
    """World times as rows will have them."""
    times: Times = microseconds(start_of(day)) + (payments.seconds * 1e6).astype(np.int64)
    return times


def _without(ordinary: Payments, lived: Payments, gone: Bools) -> Payments:
    """The lived day without some of its frauds.

    Existing payments are honest again, and added payments are gone.
    """
    honest = len(ordinary.seat)
    amount, label = lived.amount.copy(), lived.label.copy()
    amount[:honest] = np.where(gone[:honest], ordinary.amount, amount[:honest])
    label[gone] = 0
    return _of(
        replace(lived, amount=amount, label=label),
        np.r_[np.ones(honest, dtype=bool), ~gone[honest:]],
    )


def _joined(payments: Payments, theirs: Payments, happens: Bools, honest: int) -> Payments:
    """Payments with another crew's frauds that happen.

    In both, the first `honest` are the day's ordinary payments, in the same order.
    """
    marked = np.zeros(len(payments.seat), dtype=bool)
    marked[:honest] = happens[:honest] & (payments.label[:honest] == 0)
    amount, label = payments.amount.copy(), np.where(marked, 1, payments.label).astype(np.int8)
    amount[:honest] = np.where(marked[:honest], theirs.amount[:honest], amount[:honest])
    added = np.r_[np.zeros(honest, dtype=bool), happens[honest:]]
    return replace(payments, amount=amount, label=label) + _of(theirs, added)


def _of(payments: Payments, which: Bools) -> Payments:
    return Payments(*(getattr(payments, name)[which] for name in Payments.__dataclass_fields__))
