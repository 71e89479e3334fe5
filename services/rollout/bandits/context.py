"""The shares of a contextual policy: coefficients for the gateway, floors, and usual shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dojo.core.judging.bandit_shares import floors_of
from dojo.core.judging.bandits import BanditEvidence
from dojo.core.spec.bandit import BanditLimits
from dojo.core.state.bandits import Bandit
from dojo.core.state.draws import Context, ContextInput
from dojo.stats.inference.bandits import above_floors
from dojo.stats.inference.linear_bandits import best_shares, coefficient_draws

# Digits of a coefficient in the route. The sixth changes no arm that matters.
DIGITS = 6


def context_of(
    bandit: Bandit,
    evidence: BanditEvidence,
    limits: BanditLimits,
    inputs: Sequence[ContextInput],
    seed: int,
) -> tuple[Context | None, npt.NDArray[np.float64]]:
    """Return what the gateway needs, and the arms' shares for a request with usual inputs.

    There is no context before all arms have `minimum_rewards`, and none once a single arm is left.
    """
    is_open = np.array([arm.name not in bandit.closed for arm in bandit.arms])
    among = np.flatnonzero(is_open)
    floors = floors_of(limits, is_open.tolist())
    shares = np.zeros(len(is_open))
    if len(among) == 1:
        shares[among] = 1.0
        return None, shares
    if min(evidence.linear[at].answers for at in among) < limits.minimum_rewards:
        shares[among] = 1 / len(among)
        return None, above_floors(shares, floors)
    draws = np.round(coefficient_draws([evidence.linear[at] for at in among], seed), DIGITS)
    usual = np.zeros((1, draws.shape[2]))
    usual[0, 0] = 1.0
    shares[among] = best_shares(draws, usual)[0]
    context = Context(
        inputs=tuple(inputs),
        floors={bandit.arms[at].name: float(floors[at]) for at in among},
        draws=tuple(tuple(tuple(arm) for arm in draw) for draw in draws.tolist()),
    )
    return context, above_floors(shares, floors)
