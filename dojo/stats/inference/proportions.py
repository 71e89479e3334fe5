"""Rates of two groups of clustered trials.

One customer sends many payments that resemble each other.

Trials of one cluster are not independent. Each group's rate is therefore treated as if it rested on
fewer trials. This *effective* number is trials / design effect (Kish). With it, Wilson's interval
and Newcombe's difference of two Wilson intervals hold for clusters too. Both keep their advantages.
They stay inside [-1, 1]. They are right for the small rates of fraud, where the textbook interval
is not. Everything is dimensionless.

Sources: Kott and Carr (1997). Dean and Pagano (2015).
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
        value: hits / trials.
        trials: Number of trials.
        clusters: Number of clusters with any trial.
        effective: Number of independent trials giving the same precision. At most the number of
            trials.
    """

    value: float
    trials: float
    clusters: int
    effective: float


def clustered_rate(hits: Array, trials: Array) -> Rate:
    """Return the rate of a group.

    The design effect is never taken below 1. Clusters that differ less than chance do so by chance.

    Args:
        hits: Hits per cluster, shape (clusters,), 0 <= hits <= trials.
        trials: Trials per cluster, shape (clusters,). Clusters without trials are left out.

    Raises:
        ValueError: The shapes differ, hits exceed trials, or there are no trials at all.

    Source: Linearised variance of a ratio, Cochran, Sampling Techniques (1977), 6.4.
    """
    if hits.shape != trials.shape or np.any(hits > trials) or np.any(hits < 0):
        raise ValueError(
            f"hits and trials must have one shape and 0 <= hits <= trials, got {hits.shape} and"
            f" {trials.shape}"
        )
    hits, trials = hits[trials > 0].astype(np.float64), trials[trials > 0].astype(np.float64)
    total, clusters = float(trials.sum()), len(trials)
    if not clusters:
        raise ValueError("a rate needs trials, got none")
    rate = float(hits.sum()) / total
    if clusters == 1 or rate in (0.0, 1.0):
        # The spread between clusters is unknown, so the trials of one cluster count as one trial.
        return Rate(rate, total, clusters, total**2 / float(np.sum(trials**2)))
    variance = clusters / (clusters - 1) * float(np.sum((hits - rate * trials) ** 2)) / total**2
    return Rate(rate, total, clusters, total / max(1.0, variance / (rate * (1 - rate) / total)))


def wilson_interval(rate: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of one rate. `trials` are independent and need not be whole.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def newcombe_interval(first: Rate, second: Rate, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of `first.value - second.value` for two independent groups.

    Source: Newcombe, Interval estimation for the difference between independent proportions (1998),
    method 10.
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
    """Return two ratios of sums (euros caught / euros at stake) and their difference's interval.

    Sums of money have long tails, so with few clusters the interval is too short.

    Args:
        first: Numerators and denominators per cluster, shape (clusters,) each.
        second: Likewise for the second group.
        confidence: Confidence of the two-sided interval, a fraction in (0, 1).

    Returns:
        First ratio, second ratio, difference first - second, and the interval's low and high end.

    Raises:
        ValueError: A group has fewer than two clusters, or its denominators do not add up to a
            positive number.

    Source: Delta method, normal limit.
    """
    ratios, variances = [], []
    for numerators, denominators in (first, second):
        total, clusters = float(denominators.sum()), len(denominators)
        if clusters < 2 or total <= 0:
            raise ValueError(
                f"a ratio needs two clusters and a positive denominator, got {clusters} and"
                f" {total:g}"
            )
        ratio = float(numerators.sum()) / total
        ratios.append(ratio)
        variances.append(
            clusters
            / (clusters - 1)
            * float(np.sum((numerators - ratio * denominators) ** 2))
            / total**2
        )
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(sum(variances))
    difference = ratios[0] - ratios[1]
    return ratios[0], ratios[1], difference, difference - half, difference + half


def sample_ratio_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return the probability of counts at least as far from the planned shares as these.

    It assumes that the split worked as planned.

    Args:
        counts: Members of the two groups.
        shares: Planned shares, positive, adding up to 1.

    Raises:
        ValueError: There are not two groups, or a share is not positive.

    Source: Pearson's chi-square with one degree of freedom. Fabijan et al., Diagnosing Sample Ratio
    Mismatch in Online Controlled Experiments (2019), for its use as a check of experiments.
    """
    if len(counts) != 2 or len(shares) != 2 or min(shares) <= 0:
        raise ValueError(
            f"expected two groups with positive shares, got counts {list(counts)} and shares"
            f" {list(shares)}"
        )
    total = sum(counts)
    if not total:
        return 1.0
    statistic = sum(
        (count - total * share) ** 2 / (total * share)
        for count, share in zip(counts, shares, strict=True)
    )
    return math.erfc(math.sqrt(statistic / 2))
