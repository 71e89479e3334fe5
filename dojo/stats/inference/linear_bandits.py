"""A reward that depends on the request: one Bayesian linear regression per arm.

    reward of an arm = intercept + coefficients * context + noise

The posterior of the coefficients is given by a fixed number of draws. For a request, an arm's
share is the part of these draws in which it is the best. So a share is exact, and a reader of the
draws can compute it again.

Source: Agrawal and Goyal, Thompson sampling for contextual bandits with linear payoffs (2013).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# A share then has steps of 1.6 %, and the draws of two arms and four coefficients take 5 kB.
DRAWS = 64

# Precision of the prior on each coefficient, in answers. It shrinks towards 0 until an arm has
# some rewards.
PRIOR_ANSWERS = 1.0


class LinearRewards(msgspec.Struct, kw_only=True):
    """One arm's known rewards with their context, as sums.

    Attributes:
        moments: Sums of pairs of context values, shape (values, values).
        response: Sums of reward times context value, shape (values,).
        squares: Sum of the squared rewards.
        answers: Number of rewards.
    """

    moments: list[list[float]]
    response: list[float]
    squares: float = 0.0
    answers: int = 0

    @staticmethod
    def empty(values: int) -> LinearRewards:
        return LinearRewards(
            moments=[[0.0] * values for _ in range(values)], response=[0.0] * values
        )

    def add(self, context: Sequence[float], reward: float, count: int = 1) -> None:
        """Add a reward. `count` of -1 takes it back. The context begins with a 1."""
        for row, one in zip(self.moments, context, strict=True):
            for at, other in enumerate(context):
                row[at] += count * one * other
        for at, one in enumerate(context):
            self.response[at] += count * one * reward
        self.squares += count * reward**2
        self.answers += count


def coefficient_draws(arms: Sequence[LinearRewards], seed: int, draws: int = DRAWS) -> Array:
    """Return draws of the coefficients from their posterior, shape (draws, arms, values).

    The arms share one noise, as in `bandits.posterior`. Without any noise, all draws are 0.
    """
    values = len(arms[0].response)
    inverses, fits, left, answers = [], [], 0.0, 0
    for arm in arms:
        inverse = np.linalg.inv(np.array(arm.moments) + PRIOR_ANSWERS * np.eye(values))
        fit = inverse @ np.array(arm.response)
        inverses.append(inverse)
        fits.append(fit)
        left += arm.squares - float(fit @ np.array(arm.response))
        answers += arm.answers
    noise = max(left, 0.0) / max(answers, 1)
    random = np.random.default_rng(seed)
    drawn = [
        random.multivariate_normal(fit, noise * inverse, draws, method="cholesky")
        if noise
        else np.zeros((draws, values))
        for fit, inverse in zip(fits, inverses, strict=True)
    ]
    return np.stack(drawn, axis=1)


def best_shares(draws: Array, context: Array) -> Array:
    """Return for each request the part of the draws in which each arm is the best.

    Args:
        draws: Shape (draws, arms, values).
        context: Shape (requests, values).

    Returns:
        Shape (requests, arms). Rows add up to 1. Arms that are equal in a draw share it.
    """
    rewards = np.einsum("dav,rv->rda", draws, context)
    best = rewards == rewards.max(axis=2, keepdims=True)
    shares: Array = (best / best.sum(axis=2, keepdims=True)).mean(axis=1)
    return shares
