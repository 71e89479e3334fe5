"""The chi-square distribution with whole degrees of freedom, in closed form.

PSI's noise follows it.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.4.4 and 26.4.5 (finite
sums for odd and even degrees).
"""

from __future__ import annotations

import math
import sys
from statistics import NormalDist

# Relative to the quantile. Stated levels are far less precise.
_PRECISION = 1e-12
_STEPS = 100  # Newton needs 3 to 6


def chi_square_tail(x: float, degrees: int) -> float:
    """Return the probability that a chi-square variable exceeds x, in [0, 1].

    Raises:
        ValueError: degrees < 1.
    """
    if degrees < 1:
        raise ValueError(f"degrees must be >= 1, got {degrees}")
    # Half of the smallest number is 0, and 0 has no logarithm.
    if x < sys.float_info.min:
        return 1.0
    half, odd = x / 2, degrees % 2
    total = math.erfc(math.sqrt(half)) if odd else 0.0
    # Each term is half^j / gamma(j + 1) * e^-half, over j = 0, 1, ... or 1/2, 3/2, ... The
    # logarithm keeps e^-half from vanishing early.
    for k in range(degrees // 2):
        j = k + odd / 2
        total += math.exp(j * math.log(half) - half - math.lgamma(j + 1))
    return min(1.0, total)


def chi_square_quantile(degrees: int, tail: float) -> float:
    """Return the value exceeded by a chi-square variable with probability `tail`, to twelve digits.

    Args:
        degrees: Degrees of freedom, >= 1.
        tail: Probability in (0, 1). Small ones keep their digits, for the code never computes 1 -
            tail.

    Raises:
        ValueError: degrees < 1, or tail lies outside (0, 1).

    Source: Wilson and Hilferty (1931) for the start, then Newton on the logarithm of the tail.
    """
    if not 0 < tail < 1:
        raise ValueError(f"tail must lie strictly between 0 and 1, got {tail}")
    chi_square_tail(1.0, degrees)  # refuses wrong degrees
    spread = 2 / (9 * degrees)
    # -inv_cdf(tail) and not inv_cdf(1 - tail), because the latter loses digits below 1e-16.
    x = max(degrees * (1 - spread - NormalDist().inv_cdf(tail) * math.sqrt(spread)) ** 3, 1e-8)
    wanted = math.log(tail)
    for _ in range(_STEPS):
        found = chi_square_tail(x, degrees)
        # The logarithm of the tail falls ever more steeply. From two degrees on, the density is
        # log-concave. With one degree the tail is nearly log-concave. A step therefore overshoots
        # downwards at most, and the limit keeps half of x.
        density = (
            math.exp((degrees / 2 - 1) * math.log(x / 2) - x / 2 - math.lgamma(degrees / 2)) / 2
        )
        step = (math.log(found) - wanted) * found / density
        moved = max(x + step, x / 2)
        if abs(moved - x) <= _PRECISION * x:
            return moved
        x = moved
    return x
