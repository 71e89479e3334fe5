"""Anytime-valid tests: looking often is safe.

A naive test at 5 % that is repeated after every request stops a third of the good versions. An *e-process* may be looked at after
every observation: under the null hypothesis its expected value never exceeds 1, so by Ville's inequality the probability that it
*ever* reaches 1 / a is at most a. Its value is the evidence against the null: at 50, somebody who had bet 1 on "worse than the limit"
would now own 50.

Here: observations are successes or failures, and the null says of each one that its success probability is at most `null`, a figure
that may change from one observation to the next as long as it is known before it. The bet is a mixture of likelihood ratios, one for
each of a few alternatives in which the odds are a multiple of the null's.

Sources: Ville, Étude critique de la notion de collectif (1939); Ramdas, Grünwald, Vovk and Shafer, Game-theoretic statistics and safe
anytime-valid inference (2023); Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024).
"""

from __future__ import annotations

import math

import msgspec

# The alternatives: odds this many times the null's, and the part of the bet on each. Near 4 (what a canary must catch soon) lies most of
# it; 2 and 12 keep slower and faster drifts within reach. A mixture costs at most ln(1 / part) of evidence against the best single bet.
ODDS_RATIOS = (2.0, 4.0, 12.0)
PARTS = (0.25, 0.5, 0.25)

_LOG_PARTS = tuple(math.log(part) for part in PARTS)
_LARGEST_LOG = 700.0  # e-values are floats: exp(709) is the last one


class EProcess(msgspec.Struct):
    """Evidence that successes are more frequent than the null allows. O(1) memory, serialisable by msgspec.

    Attributes:
        log_likelihoods: logarithm of the likelihood ratio for each of ODDS_RATIOS.
        observations, successes: how many went in.
    """

    log_likelihoods: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(ODDS_RATIOS))
    observations: int = 0
    successes: int = 0

    def observe(self, success: bool, null: float) -> None:
        """Take one observation in.

        Args:
            null: largest success probability that the null hypothesis allows for it, strictly between 0 and 1, decided before
                it was seen.

        Raises:
            ValueError: null is no such probability.
        """
        if not 0 < null < 1:
            raise ValueError(f"null must lie strictly between 0 and 1, got {null}")
        self.observations += 1
        self.successes += success
        for at, ratio in enumerate(ODDS_RATIOS):
            # With q the alternative's probability, q / null is ratio / scale and (1 - q) / (1 - null) is 1 / scale.
            scale = 1 - null + ratio * null
            self.log_likelihoods[at] += math.log(ratio / scale if success else 1 / scale)

    @property
    def e_value(self) -> float:
        """The evidence so far, >= 0; 1 without any."""
        terms = [part + likelihood for part, likelihood in zip(_LOG_PARTS, self.log_likelihoods, strict=True)]
        largest = max(terms)
        return math.exp(min(largest + math.log(sum(math.exp(term - largest) for term in terms)), _LARGEST_LOG))

    def merged(self, other: EProcess) -> EProcess:
        """The process of both sets of observations, which must not overlap. The order does not matter."""
        return EProcess(
            [mine + theirs for mine, theirs in zip(self.log_likelihoods, other.log_likelihoods, strict=True)],
            self.observations + other.observations,
            self.successes + other.successes,
        )


class RestartingEProcess(msgspec.Struct):
    """An EProcess for what may begin late: a mixture over the moments at which the fault began.

    A single process bets from the first observation on, and 20,000 good ones leave it with debts that a sudden fault has to pay back
    first. Here half of the stake is bet from the start; the rest waits and is brought in piece by piece, before each observation a
    smaller one. Each piece is an e-process from there on, waiting stakes are worth what they are, and their sum is an e-process again.
    O(1) memory: pieces on the same alternative grow by the same factor (the recursion of Shiryaev and Roberts).

    Attributes:
        log_sums: logarithm of what the stakes brought in are worth, for each of ODDS_RATIOS.

    Source: Shiryaev (1963); Shin, Ramdas and Rinaldo, E-detectors (2024), for the sum of e-processes over starts.
    """

    log_sums: list[float] = msgspec.field(default_factory=lambda: [math.log(0.5)] * len(ODDS_RATIOS))
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
        """The evidence so far, >= 0; 1 without any."""
        bet = [math.exp(min(part + worth, _LARGEST_LOG)) for part, worth in zip(_LOG_PARTS, self.log_sums, strict=True)]
        return sum(bet) + _waiting(self.observations)


def _waiting(observations: int) -> float:
    """The part of the stake that is not bet yet: 1/2, then slowly less. Of 1 / n^2 nothing would be left for a fault of the second day."""
    return 0.5 / (1 + math.log2(observations)) if observations else 0.5


def _log_sum(one: float, other: float) -> float:
    larger = max(one, other)
    return larger + math.log1p(math.exp(min(one, other) - larger))


def probability_of_falling_on(share: float, ratio: float) -> float:
    """On which of two arms does an event fall? The largest probability of the first, while its rate is at most `ratio` times the other's.

    Args:
        share: the first arm's share of the requests, strictly between 0 and 1.
        ratio: allowed rate of the first arm per rate of the other, > 0.
    """
    return ratio * share / (ratio * share + 1 - share)
