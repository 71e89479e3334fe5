"""Rates of two groups whose trials come in clusters: one customer sends many payments, and they resemble each other.

Trials of one cluster are not independent, so each group's rate is treated as if it rested on fewer of them: on its *effective* number
of trials, trials / design effect (Kish). With that number Wilson's interval and Newcombe's difference of two Wilson intervals hold
for clusters too (Kott and Carr 1997; Dean and Pagano 2015), and keep what they are liked for: they stay inside [-1, 1] and are right
for the small rates of fraud, where the textbook interval is not. Everything is dimensionless.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating] | npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate of clustered trials.

    Attributes:
        value: hits / trials. `clusters`: those with any trial.
        effective: the number of independent trials that would know the rate as well; at most the number of trials.
    """

    value: float
    trials: float
    clusters: int
    effective: float


def clustered_rate(hits: Array, trials: Array) -> Rate:
    """The rate of a group.

    Args:
        hits, trials: per cluster, shape (clusters,), 0 <= hits <= trials. Clusters without trials say nothing and are left out.

    Raises:
        ValueError: shapes differ, hits exceed trials, or there are no trials at all.

    Source: linearised variance of a ratio, Cochran, Sampling Techniques (1977), 6.4. The design effect is never taken below 1: that
    clusters differ less than chance is chance itself.
    """
    if hits.shape != trials.shape or np.any(hits > trials) or np.any(hits < 0):
        raise ValueError(f"hits and trials must have one shape and 0 <= hits <= trials, got {hits.shape} and {trials.shape}")
    hits, trials = hits[trials > 0].astype(np.float64), trials[trials > 0].astype(np.float64)
    total, clusters = float(trials.sum()), len(trials)
    if not clusters:
        raise ValueError("a rate needs trials, got none")
    rate = float(hits.sum()) / total
    if clusters == 1 or rate in (0.0, 1.0):
        # No spread to be seen: as if the trials of one cluster were all the same one.
        return Rate(rate, total, clusters, total**2 / float(np.sum(trials**2)))
    variance = clusters / (clusters - 1) * float(np.sum((hits - rate * trials) ** 2)) / total**2
    return Rate(rate, total, clusters, total / max(1.0, variance / (rate * (1 - rate) / total)))


def wilson_interval(rate: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of one rate that rests on `trials` independent trials (need not be whole).

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def newcombe_interval(first: Rate, second: Rate, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of `first.value - second.value`, two independent groups.

    Source: Newcombe, Interval estimation for the difference between independent proportions (1998), method 10.
    """
    low_1, high_1 = wilson_interval(first.value, first.effective, confidence)
    low_2, high_2 = wilson_interval(second.value, second.effective, confidence)
    difference = first.value - second.value
    below = math.hypot(first.value - low_1, high_2 - second.value)
    above = math.hypot(high_1 - first.value, second.value - low_2)
    return difference - below, difference + above


def ratio_interval(
    first: tuple[Array, Array], second: tuple[Array, Array], confidence: float = 0.95
) -> tuple[float, float, float, float, float]:
    """Two ratios of sums (euros caught / euros at stake), their difference first - second, and its interval's ends.

    Args:
        first, second: numerators and denominators per cluster, shape (clusters,) each.

    Returns:
        ratio of the first, of the second, their difference, low, high.

    Raises:
        ValueError: fewer than two clusters, or a sum of denominators that is 0.

    Source: delta method, normal limit. Sums of money have long tails: with few clusters the interval is too short.
    """
    ratios, variances = [], []
    for numerators, denominators in (first, second):
        total, clusters = float(denominators.sum()), len(denominators)
        if clusters < 2 or total <= 0:
            raise ValueError(f"a ratio needs two clusters and a positive denominator, got {clusters} and {total:g}")
        ratio = float(numerators.sum()) / total
        ratios.append(ratio)
        variances.append(clusters / (clusters - 1) * float(np.sum((numerators - ratio * denominators) ** 2)) / total**2)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(sum(variances))
    difference = ratios[0] - ratios[1]
    return ratios[0], ratios[1], difference, difference - half, difference + half


def sample_ratio_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Probability of counts at least as far from the shares as these, if the split was as planned.

    Args:
        counts: members of the two groups. shares: planned, positive, adding up to 1.

    Raises:
        ValueError: not two groups, or a share that is not positive.

    Source: Pearson's chi-square with one degree of freedom; as a check of experiments: Fabijan et al., Diagnosing Sample Ratio
    Mismatch in Online Controlled Experiments (2019).
    """
    if len(counts) != 2 or len(shares) != 2 or min(shares) <= 0:
        raise ValueError(f"expected two groups with positive shares, got counts {list(counts)} and shares {list(shares)}")
    total = sum(counts)
    if not total:
        return 1.0
    statistic = sum((count - total * share) ** 2 / (total * share) for count, share in zip(counts, shares, strict=True))
    return math.erfc(math.sqrt(statistic / 2))
