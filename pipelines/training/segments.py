"""Groups of rows that a model must not fail while its average rises: those with none of a quantity, and thirds of the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.registry.reference_profile import Segmentation

# Groups of the features that have words of their own, from none to most.
NAMES = {"customer_tx_count_30d": ("new", "rare", "regular", "frequent")}
OTHER_NAMES = ("none", "low", "middle", "high")


def segmentation_of(values: npt.NDArray[np.floating], feature: str) -> Segmentation | None:
    """Cuts at zero and at the thirds of what lies above it. None when nothing does. values: shape (rows,)."""
    known = values[values > 0].astype(np.float64)
    if not len(known):
        return None
    low, high = (float(cut) for cut in np.quantile(known, [1 / 3, 2 / 3]))
    return Segmentation(feature=feature, cuts=(0.0, low, high), names=NAMES.get(feature, OTHER_NAMES))


def segments_of(rows: pl.DataFrame, feature: str) -> tuple[dict[str, npt.NDArray[np.int64]], str]:
    """Row numbers by segment, and how they were cut. Empty where the rows have no such feature, or none of it.

    Args:
        rows: Features as columns.
        feature: The spec's `drift.segment`, empty for none.
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
    words = f"by `{feature}`: {none} have none, {few} up to {low:g}, {middle} up to {high:g}, {most} more"
    return {name: np.flatnonzero(codes == code) for code, name in enumerate(segmentation.names)}, words
