"""Shares of traffic for arms that compete, from the rewards known so far.

An arm's mean reward is estimated with weights 1 / propensity, its probability of being drawn. The
shares change while the rewards change with the hour. Without these weights, an arm that grew in a
good hour would look better than it is.

Sources: Thompson, On the likelihood that one unknown probability exceeds another (1933). Hajek's
weighted mean and the effective number of Kish, Survey Sampling (1965).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Draws per arm. A share's standard error is then at most 0.005.
DRAWS = 10_000

# Answers that the common mean of all arms counts for in each arm's posterior. One is next to
# nothing, and keeps an arm without rewards from having no spread.
PRIOR_ANSWERS = 1.0


class ArmRewards(msgspec.Struct, kw_only=True):
    """The known rewards of one arm, as sums. Rewards are in the caller's unit.

    Attributes:
        answers: Number of answers with a known reward.
        earned: Sum of the rewards.
        weight: Sum of the weights.
        weight_squares: Sum of the squared weights.
        total: Weighted sum of the rewards.
        squares: Weighted sum of the squared rewards.
    """

    answers: int = 0
    earned: float = 0.0
    weight: float = 0.0
    weight_squares: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def add(self, reward: float, propensity: float, count: int = 1) -> None:
        """Add equal rewards.

        Args:
            reward: The reward of each answer.
            propensity: Probability with which the arm was drawn, in (0, 1].
            count: Number of such answers. -1 takes one back.

        Raises:
            ValueError: The propensity lies outside its range.
        """
        if not 0 < propensity <= 1:
            raise ValueError(f"propensity must lie in (0, 1], got {propensity}")
        each = 1 / propensity
        self.answers += count
        self.earned += count * reward
        self.weight += count * each
        self.weight_squares += count * each**2
        self.total += count * each * reward
        self.squares += count * each * reward**2

    @property
    def mean(self) -> float | None:
        """The weighted mean reward. None without rewards."""
        return self.total / self.weight if self.answers else None

    @property
    def effective(self) -> float:
        """Number of equally weighted rewards with the same precision."""
        return self.weight**2 / self.weight_squares if self.answers else 0.0


def posterior(arms: Sequence[ArmRewards]) -> tuple[Array, Array]:
    """Return mean and standard error of each arm's mean reward, shape (arms,) each.

    The posterior is normal. Its prior is the common mean, worth PRIOR_ANSWERS. The arms share one
    spread. An arm with few rewards cannot know its own, as long as all of them are 0.
    """
    weight = sum(arm.weight for arm in arms)
    if not weight:
        return np.zeros(len(arms)), np.zeros(len(arms))
    common = sum(arm.total for arm in arms) / weight
    spread = max(sum(arm.squares for arm in arms) / weight - common**2, 0.0)
    effective = np.array([arm.effective for arm in arms])
    own = np.array([common if arm.mean is None else arm.mean for arm in arms])
    known = effective + PRIOR_ANSWERS
    return (effective * own + PRIOR_ANSWERS * common) / known, np.sqrt(spread / known)


def thompson_shares(means: Array, errors: Array, seed: int, draws: int = DRAWS) -> Array:
    """Return each arm's probability of being the best, shape (arms,). Equal without any spread.

    Args:
        means: Posterior mean of each arm.
        errors: Its standard error.
        seed: The same seed gives the same shares.
        draws: Draws per arm.
    """
    if not errors.any():
        return np.full(len(means), 1 / len(means))
    drawn = np.random.default_rng(seed).normal(means, errors, (draws, len(means)))
    return np.bincount(drawn.argmax(axis=1), minlength=len(means)) / draws


def epsilon_greedy_shares(means: Array, exploration: float) -> Array:
    """Return shares where the best arm has all but `exploration`, which all arms have in parts.

    Equal while all means are.

    Args:
        means: Mean reward of each arm.
        exploration: Share of traffic that is spread over all arms, a fraction.
    """
    count = len(means)
    if count == 1 or np.ptp(means) == 0:
        return np.full(count, 1 / count)
    shares = np.full(count, exploration / count)
    shares[means.argmax()] += 1 - exploration
    return shares


def above_floors(shares: Array, floors: Array) -> Array:
    """Return shares that keep every arm's floor. What the floors leave is split as wanted.

    Args:
        shares: Wanted shares, shape (arms,) or (requests, arms).
        floors: Smallest share of each arm, shape (arms,).

    Raises:
        ValueError: The floors exceed the whole traffic.
    """
    if floors.sum() > 1 + 1e-9:
        raise ValueError(f"floors must add up to at most 1, got {floors.tolist()}")
    bounded: Array = floors + (1 - floors.sum()) * shares
    return bounded


def step_towards(current: Array, wanted: Array, largest: float) -> Array:
    """Return shares on the straight way to `wanted`, where none changes by more than `largest`.

    So they add up to 1, and keep each floor that both ends keep.
    """
    change = float(np.abs(wanted - current).max())
    return wanted if change <= largest else current + (wanted - current) * (largest / change)
