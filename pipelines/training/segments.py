"""Groups of customers that a model must not fail while its average rises: new ones, and three thirds by how often they pay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

# The customer's payments in the 30 days before the day: known before the payment, and the same for both models.
ACTIVITY = "customer_tx_count_30d"
NAMES = ("new", "rare", "regular", "frequent")


def customer_segments(rows: pl.DataFrame) -> tuple[dict[str, npt.NDArray[np.int64]], str]:
    """Row numbers by segment, and how they were cut. Empty without the feature ACTIVITY.

    Args:
        rows: the holdout's, with features as columns.
    """
    if ACTIVITY not in rows.columns:
        return {}, f"no segments: the data has no {ACTIVITY}"
    payments = rows[ACTIVITY].to_numpy()
    known = payments[payments > 0]
    low, high = np.quantile(known, [1 / 3, 2 / 3]) if len(known) else (0.0, 0.0)
    codes = np.where(payments <= 0, 0, 1 + np.searchsorted([low, high], payments))
    cut = (
        f"customers by payments in the 30 days before (`{ACTIVITY}`): new none, rare up to {low:g}, "
        f"regular up to {high:g}, frequent more"
    )
    return {name: np.flatnonzero(codes == code) for code, name in enumerate(NAMES)}, cut
