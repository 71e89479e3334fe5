"""The shares of a bandit's arms, within the spec's limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dojo.core.spec.bandit import BanditLimits, PolicyName
from dojo.stats.inference.bandits import (
    ArmRewards,
    above_floors,
    epsilon_greedy_shares,
    posterior,
    step_towards,
    thompson_shares,
)

Array = npt.NDArray[np.float64]


def floors_of(limits: BanditLimits, open_arms: Sequence[bool]) -> Array:
    """Return the smallest share of each arm. The champion is the first. A closed arm has none."""
    floors = np.where(open_arms, limits.floor, 0.0)
    floors[0] = limits.champion_floor
    return floors


def first_shares(limits: BanditLimits, arms: int) -> Array:
    """Return the split before anything is known: equal, above the floors.

    Raises:
        ValueError: The floors leave nothing for so many arms.
    """
    return above_floors(np.full(arms, 1 / arms), floors_of(limits, [True] * arms))


def next_shares(
    policy: PolicyName,
    limits: BanditLimits,
    rewards: Sequence[ArmRewards],
    current: Array,
    open_arms: Sequence[bool],
    seed: int,
) -> Array:
    """Return the shares after an update.

    Args:
        policy: The rule that turns rewards into shares.
        limits: The spec's limits.
        rewards: Known rewards of each arm, the champion's first.
        current: The shares so far.
        open_arms: False for an arm that has lost its traffic for good.
        seed: Seed of the draws.
    """
    among = [at for at, is_open in enumerate(open_arms) if is_open]
    of = [rewards[at] for at in among]
    wanted = np.zeros(len(rewards))
    means, errors = posterior(of)
    if min(arm.answers for arm in of) < limits.minimum_rewards:
        wanted[among] = 1 / len(among)
    elif policy == "epsilon_greedy":
        wanted[among] = epsilon_greedy_shares(means, limits.exploration)
    else:
        wanted[among] = thompson_shares(means, errors, seed)
    bounded = above_floors(wanted, floors_of(limits, open_arms))
    return step_towards(current, bounded, limits.largest_step)


def without(current: Array, arm: int) -> Array:
    """Return the shares after an arm lost its traffic to the champion, at once."""
    shares = current.copy()
    shares[0] += shares[arm]
    shares[arm] = 0.0
    return shares
