"""The chi-square distribution with whole degrees of freedom, in closed form: what PSI's noise follows.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.4.4 and 26.4.5 (finite sums for odd and even degrees).
"""

from __future__ import annotations

import math
import sys
from statistics import NormalDist

_PRECISION = 1e-12  # relative, of the quantile: far beyond what any level is stated with
_STEPS = 100  # Newton needs 3 to 6


def chi_square_tail(x: float, degrees: int) -> float:
    """Probability that a chi-square variable exceeds x, in [0, 1].

    Raises:
        ValueError: degrees < 1.
    """
    if degrees < 1:
        raise ValueError(f"degrees must be >= 1, got {degrees}")
    if x < sys.float_info.min:  # half of the smallest number is 0, of which there is no logarithm
        return 1.0
    half, odd = x / 2, degrees % 2
    total = math.erfc(math.sqrt(half)) if odd else 0.0
    # Each term is half^j / gamma(j + 1) * e^-half, over j = 0, 1, ... or 1/2, 3/2, ...; as a logarithm, so that e^-half cannot vanish early.
    for k in range(degrees // 2):
        j = k + odd / 2
        total += math.exp(j * math.log(half) - half - math.lgamma(j + 1))
    return min(1.0, total)


def chi_square_quantile(degrees: int, tail: float) -> float:
    """The value that a chi-square variable exceeds with probability `tail`, to twelve digits.

    Args:
        tail: in (0, 1); small ones keep their digits (1e-12 is 1e-12, not 1 minus something).

    Raises:
        ValueError: degrees < 1, or tail outside (0, 1).

    Source: Wilson and Hilferty (1931) for the start, then Newton on the logarithm of the tail.
    """
    if not 0 < tail < 1:
        raise ValueError(f"tail must lie strictly between 0 and 1, got {tail}")
    chi_square_tail(1.0, degrees)  # refuses wrong degrees
    spread = 2 / (9 * degrees)
    # -inv_cdf(tail), not inv_cdf(1 - tail): the latter loses what is below 1e-16.
    x = max(degrees * (1 - spread - NormalDist().inv_cdf(tail) * math.sqrt(spread)) ** 3, 1e-8)
    wanted = math.log(tail)
    for _ in range(_STEPS):
        found = chi_square_tail(x, degrees)
        # The logarithm of the tail falls ever more steeply (the density is log-concave from two degrees on; of one degree the tail is
        # nearly so), so a step overshoots downwards at most: half of x is kept.
        density = math.exp((degrees / 2 - 1) * math.log(x / 2) - x / 2 - math.lgamma(degrees / 2)) / 2
        step = (math.log(found) - wanted) * found / density
        moved = max(x + step, x / 2)
        if abs(moved - x) <= _PRECISION * x:
            return moved
        x = moved
    return x
