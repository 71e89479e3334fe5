"""Anytime-valid tests, which are safe to look at often.

A naive test at 5 %, repeated after every request, stops a third of the good versions. An
*e-process* may be looked at after every observation. Under the null hypothesis its expected value
never exceeds 1. By Ville's inequality, the probability that it *ever* reaches 1 / a is then at most
a. Its value is the evidence against the null. At 50, a bet of 1 on "worse than the limit" would now
be worth 50.

Observations here are successes or failures. The null says of each that its success probability is
at most `null`. This figure may change between observations, but must be known before its
observation. The bet is a mixture of likelihood ratios, one for each of a few alternatives. In each
alternative the odds are a multiple of the null's odds.

Sources: Ville, Étude critique de la notion de collectif (1939). Ramdas, Grünwald, Vovk and Shafer,
Game-theoretic statistics and safe anytime-valid inference (2023). Waudby-Smith and Ramdas,
Estimating means of bounded random variables by betting (2024).
"""

from __future__ import annotations

import math

import msgspec

# The alternatives, as multiples of the null's odds, and the part of the bet on each. Most of it
# lies near 4, the fault a canary must catch soon. 2 and 12 keep slower and faster drifts within
# reach. A mixture costs at most ln(1 / part) of evidence against the best single bet.
ODDS_RATIOS = (2.0, 4.0, 12.0)
PARTS = (0.25, 0.5, 0.25)

_LOG_PARTS = tuple(math.log(part) for part in PARTS)
_LARGEST_LOG = 700.0  # e-values are floats, and exp(709) is the last finite one


class EProcess(msgspec.Struct):
    """Evidence that successes are more frequent than the null allows.

    O(1) memory, stored by msgspec.

    Attributes:
        log_likelihoods: Logarithm of the likelihood ratio for each of ODDS_RATIOS.
        observations: Number of observations taken in.
        successes: Number of successes among them.
    """

    log_likelihoods: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(ODDS_RATIOS))
    observations: int = 0
    successes: int = 0

    def observe(self, success: bool, null: float) -> None:
        """Take one observation in.

        Args:
            success: True for a success.
            null: Largest success probability allowed by the null hypothesis, strictly between 0
                and 1. The caller decides it before seeing the observation.

        Raises:
            ValueError: `null` lies outside its range.
        """
        if not 0 < null < 1:
            raise ValueError(f"null must lie strictly between 0 and 1, got {null}")
        self.observations += 1
        self.successes += success
        for at, ratio in enumerate(ODDS_RATIOS):
            # With the alternative's probability q, q / null is ratio / scale and
            # (1 - q) / (1 - null) is 1 / scale.
            scale = 1 - null + ratio * null
            self.log_likelihoods[at] += math.log(ratio / scale if success else 1 / scale)

    @property
    def e_value(self) -> float:
        """The evidence so far, >= 0. It is 1 without observations."""
        terms = [
            part + likelihood
            for part, likelihood in zip(_LOG_PARTS, self.log_likelihoods, strict=True)
        ]
        largest = max(terms)
        return math.exp(
            min(largest + math.log(sum(math.exp(term - largest) for term in terms)), _LARGEST_LOG)
        )

    def merged(self, other: EProcess) -> EProcess:
        """Return the process of both sets of observations, which must not overlap.

        Order is free.
        """
        return EProcess(
            [
                mine + theirs
                for mine, theirs in zip(self.log_likelihoods, other.log_likelihoods, strict=True)
            ],
            self.observations + other.observations,
            self.successes + other.successes,
        )


class RestartingEProcess(msgspec.Struct):
    """An EProcess for a fault that may begin late. It is a mixture over the possible start moments.

    A single process bets from the first observation on. After 20,000 good ones it has debts, and a
    sudden fault must pay them back first. Here half of the stake is bet from the start. The rest
    waits, and a smaller piece of it is added before each observation. Each piece is an e-process
    from its start, and waiting stakes keep their value. Their sum is therefore an e-process again.
    Memory is O(1), because pieces on the same alternative grow by the same factor. This is the
    recursion of Shiryaev and Roberts.

    Attributes:
        log_sums: Logarithm of the present worth of all added stakes, for each of ODDS_RATIOS.
        observations: Number of observations taken in.
        successes: Number of successes among them.

    Source: Shiryaev (1963). Shin, Ramdas and Rinaldo, E-detectors (2024), for the sum over starts.
    """

    log_sums: list[float] = msgspec.field(
        default_factory=lambda: [math.log(0.5)] * len(ODDS_RATIOS)
    )
    observations: int = 0
    successes: int = 0

    def observe(self, success: bool, null: float) -> None:
        """Like EProcess.observe."""
        if not 0 < null < 1:
            raise ValueError(f"null must lie strictly between 0 and 1, got {null}")
        stake = _waiting(self.observations) - _waiting(self.observations + 1)
        self.observations += 1
        self.successes += success
        for at, ratio in enumerate(ODDS_RATIOS):
            scale = 1 - null + ratio * null
            worth = _log_sum(self.log_sums[at], math.log(stake)) if stake else self.log_sums[at]
            self.log_sums[at] = worth + math.log(ratio / scale if success else 1 / scale)

    @property
    def e_value(self) -> float:
        """The evidence so far, >= 0. It is 1 without observations."""
        bet = [
            math.exp(min(part + worth, _LARGEST_LOG))
            for part, worth in zip(_LOG_PARTS, self.log_sums, strict=True)
        ]
        return sum(bet) + _waiting(self.observations)


def _waiting(observations: int) -> float:
    """Return the part of the stake that still waits. It is 1/2 at first, then falls slowly.

    A fall by 1 / n^2 would leave nothing for a fault on the second day.
    """
    return 0.5 / (1 + math.log2(observations)) if observations else 0.5


def _log_sum(one: float, other: float) -> float:
    larger = max(one, other)
    return larger + math.log1p(math.exp(min(one, other) - larger))


def probability_of_falling_on(share: float, ratio: float) -> float:
    """Return the largest probability that an event falls on the first of two arms.

    It assumes that the first arm's event rate is at most `ratio` times the other's.

    Args:
        share: The first arm's share of the requests, strictly between 0 and 1.
        ratio: Allowed rate of the first arm per rate of the other, > 0.
    """
    return ratio * share / (ratio * share + 1 - share)
