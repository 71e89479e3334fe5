"""What PSI reaches by chance, so that nobody is alarmed by a quiet hour with few rows.

Without drift, PSI over B bins is close to (1/n + 1/m) times a chi-square variable with B - 1 degrees of freedom, n reference and m current
rows, whatever the bins' shares. Measured (tests): the stated share of quiet windows exceeds the critical value when every bin expects 30 rows or more; of
bins that expect 4 to 15 rows up to 2.7 times as many do, for the logarithm exaggerates nearly empty bins; below two rows a bin hardly any, for an empty
bin counts as half a row.

It holds for independent rows. Rows in clusters (one customer's payments, of which the customer's features hardly differ) carry less: a
statement of 1 % is then too good, by as much as a design effect says. That is why a finding must also pass a threshold and be confirmed.

Sources: Yurdakul, Statistical Properties of the Population Stability Index (2018), for the distribution; Sidak, Rectangular Confidence Regions (1967),
for many features; Kish, Survey Sampling (1965), for design effects.
"""

from __future__ import annotations

import math

from dojo.stats.inference.chi_square import chi_square_quantile, chi_square_tail


def psi_critical_value(
    bins: int, reference_rows: int, current_rows: int, *, significance: float, features: int = 1, design_effect: float = 1.0
) -> float:
    """The PSI that quiet data exceed with probability `significance`.

    Args:
        bins: that the reference has rows in, >= 2. reference_rows, current_rows: >= 1.
        significance: probability in (0, 1) that *any* of the features exceeds its critical value by chance.
        features: tested in the same window (Sidak; conservative for features that resemble each other).
        design_effect: how many rows of a cluster are worth one independent row, >= 1; divides the current rows.

    Returns:
        Dimensionless, > 0.

    Raises:
        ValueError: an argument outside its range.
    """
    _require(bins, reference_rows, current_rows, design_effect)
    return chi_square_quantile(bins - 1, per_feature_level(significance, features)) * (
        1 / reference_rows + design_effect / current_rows
    )


def psi_p_value(psi: float, bins: int, reference_rows: int, current_rows: int, *, design_effect: float = 1.0) -> float:
    """Probability that quiet data reach this PSI, of one feature. Arguments and errors as for `psi_critical_value`."""
    _require(bins, reference_rows, current_rows, design_effect)
    return chi_square_tail(psi / (1 / reference_rows + design_effect / current_rows), bins - 1)


def rows_for_psi(threshold: float, bins: int, reference_rows: int, *, significance: float, features: int = 1) -> int | None:
    """The fewest current rows with which `threshold` is beyond chance; None when even endless ones would not do: the reference is too small.

    Raises:
        ValueError: threshold <= 0, or as `psi_critical_value`.
    """
    if threshold <= 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    _require(bins, reference_rows, 1, 1.0)
    left = threshold / chi_square_quantile(bins - 1, per_feature_level(significance, features)) - 1 / reference_rows
    return math.ceil(1 / left) if left > 0 else None


def per_feature_level(significance: float, features: int) -> float:
    """The level at which each of `features` is tested so that any false alarm among them has probability `significance` (Sidak).

    Raises:
        ValueError: significance outside (0, 1), or features < 1.
    """
    if not 0 < significance < 1:
        raise ValueError(f"significance must lie strictly between 0 and 1, got {significance}")
    if features < 1:
        raise ValueError(f"features must be >= 1, got {features}")
    return -math.expm1(math.log1p(-significance) / features)


def _require(bins: int, reference_rows: int, current_rows: int, design_effect: float) -> None:
    if bins < 2:
        raise ValueError(f"bins must be >= 2, got {bins}")
    if reference_rows < 1 or current_rows < 1:
        raise ValueError(f"needs rows on both sides, got {reference_rows} and {current_rows}")
    if design_effect < 1:
        raise ValueError(f"design_effect must be >= 1, got {design_effect}")
