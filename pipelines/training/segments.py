"""Groups of rows by one feature: rows where it is zero, and thirds of the others.

A model must not get worse on one group while its average rises.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.registry.reference_profile import Segmentation

# Feature -> names of its groups, from none to most.
NAMES = {"customer_tx_count_30d": ("new", "rare", "regular", "frequent")}
OTHER_NAMES = ("none", "low", "middle", "high")


def segmentation_of(values: npt.NDArray[np.floating], feature: str) -> Segmentation | None:
    """Cut at zero and at the thirds of the values above zero.

    Args:
        values: The feature's values, shape (rows,).
        feature: The feature's name.

    Returns:
        The segmentation. None when no value is above zero.
    """
    known = values[values > 0].astype(np.float64)
    if not len(known):
        return None
    low, high = (float(cut) for cut in np.quantile(known, [1 / 3, 2 / 3]))
    return Segmentation(
        feature=feature, cuts=(0.0, low, high), names=NAMES.get(feature, OTHER_NAMES)
    )


def segments_of(rows: pl.DataFrame, feature: str) -> tuple[dict[str, npt.NDArray[np.int64]], str]:
    """Return the row numbers by segment, and a sentence about the cuts.

    The segments are empty when the rows lack the feature, or when it is zero everywhere.

    Args:
        rows: Features as columns.
        feature: The spec's `drift.segment`. Empty without segments.
    """
    if not feature:
        return {}, "no segments: the spec names none (drift.segment)"
    if feature not in rows.columns:
        return {}, f"no segments: the data has no {feature} (drift.segment)"
    values = rows[feature].to_numpy().astype(np.float64)
    segmentation = segmentation_of(values, feature)
    if segmentation is None:
        return {}, f"no segments: {feature} is zero everywhere (drift.segment)"
    codes = segmentation.codes(values)
    (_, low, high), (none, few, middle, most) = segmentation.cuts, segmentation.names
    words = (
        f"by `{feature}`: {none} have none, {few} up to {low:g}, {middle} up to {high:g}, {most}"
        " more"
    )
    return {
        name: np.flatnonzero(codes == code) for code, name in enumerate(segmentation.names)
    }, words
