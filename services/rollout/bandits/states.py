"""What a bandit's evidence says of each arm, in figures and in words. Pure."""

from __future__ import annotations

import numpy as np

from dojo.core.judging.bandits import BanditEvidence
from dojo.core.state.bandits import ArmState, Bandit
from dojo.stats.inference.bandits import posterior
from dojo.stats.inference.means import two_sided_z

CONFIDENCE = 0.95  # of the interval in `dojo bandit show`


def states_of(
    bandit: Bandit, evidence: BanditEvidence
) -> tuple[tuple[ArmState, ...], float | None]:
    """Return what is known of each arm, and the estimated regret of all answers, euro."""
    means, errors = posterior(evidence.rewards)
    pending, z = evidence.pending(), two_sided_z(1 - CONFIDENCE)
    states = []
    for at, (arm, rewards) in enumerate(zip(bandit.arms, evidence.rewards, strict=True)):
        low, high = means[at] - z * errors[at], means[at] + z * errors[at]
        is_known = rewards.answers > 0
        states.append(
            ArmState(
                name=arm.name,
                answers=evidence.answers[at],
                rewarded=rewards.answers,
                pending=pending[at],
                unlabelled=evidence.unlabelled[at],
                earned=rewards.earned,
                mean=rewards.mean,
                low=float(low) if is_known else None,
                high=float(high) if is_known else None,
            )
        )
    if not all(rewards.answers for rewards in evidence.rewards):
        return tuple(states), None
    return tuple(states), float((means.max() - means) @ np.array(evidence.answers))


def in_words(bandit: Bandit) -> str:
    """Return what an update rests on, in words."""
    return ", ".join(
        f"{state.name} "
        + (
            "has no reward yet"
            if state.mean is None
            else f"{state.mean:.5f} euro ({state.low:.5f} to {state.high:.5f}) on"
            f" {state.rewarded:,} answers"
        )
        + f" and {state.pending:,} pending"
        for state in bandit.states
    )
