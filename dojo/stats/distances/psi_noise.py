"""How high PSI gets by chance, so that a quiet hour with few rows raises no alarm.

Without drift, PSI over B bins is close to (1/n + 1/m) times a chi-square variable. The variable has
B - 1 degrees of freedom. Here n is the number of reference rows and m the number of current rows.
The bins' shares do not matter.

Tests measured how many quiet windows exceed the critical value:

- The stated share, when every bin expects 30 rows or more.
- Up to 2.7 times as many, when bins expect 4 to 15 rows. The logarithm exaggerates nearly empty
  bins.
- Hardly any, below two expected rows per bin. An empty bin counts as half a row.

This holds for independent rows. Rows in clusters carry less information. For example, one
customer's payments share most of their features. Quiet windows of such rows exceed the value more
often than stated. The reference can state by how much (`excess`), and the value then corrects for
it.

Sources: Yurdakul, Statistical Properties of the Population Stability Index (2018), for the
distribution. Sidak, Rectangular Confidence Regions (1967), for many features. Kish, Survey Sampling
(1965), for design effects.
"""

from __future__ import annotations

import math
from functools import lru_cache

from dojo.stats.inference.chi_square import chi_square_quantile

# A monitor asks for the same few quantiles in every window, and each takes some 20 microseconds.
_quantile = lru_cache(maxsize=1024)(chi_square_quantile)


def psi_critical_value(
    bins: int,
    reference_rows: int,
    current_rows: int,
    *,
    significance: float,
    features: int = 1,
    excess: float = 0.0,
) -> float:
    """Return the PSI that quiet data exceed with probability `significance`.

    Args:
        bins: Bins in which the reference has rows, >= 2.
        reference_rows: Rows of the reference, >= 1.
        current_rows: Rows of the window, >= 1.
        significance: Probability in (0, 1) that *any* feature exceeds its critical value by chance.
        features: Number of features tested in the same window (Sidak). The value is conservative
            for features that resemble each other.
        excess: PSI per degree of freedom of quiet windows beyond independent rows, >= 0. A window
            then counts as at most 1 / excess independent rows. Rows with a design effect d have
            (d - 1) / current_rows.

    Returns:
        Dimensionless, > 0.

    Raises:
        ValueError: An argument lies outside its range.
    """
    if bins < 2:
        raise ValueError(f"bins must be >= 2, got {bins}")
    if reference_rows < 1 or current_rows < 1:
        raise ValueError(f"needs rows on both sides, got {reference_rows} and {current_rows}")
    if excess < 0:
        raise ValueError(f"excess must be >= 0, got {excess}")
    return _quantile(bins - 1, per_feature_level(significance, features)) * (
        1 / reference_rows + 1 / current_rows + excess
    )


def per_feature_level(significance: float, features: int) -> float:
    """Return the significance level for each single feature (Sidak).

    Any false alarm among all `features` then has probability `significance`.

    Raises:
        ValueError: `significance` lies outside (0, 1), or `features` is below 1.
    """
    if not 0 < significance < 1:
        raise ValueError(f"significance must lie strictly between 0 and 1, got {significance}")
    if features < 1:
        raise ValueError(f"features must be >= 1, got {features}")
    return -math.expm1(math.log1p(-significance) / features)
