"""Products in lists: how people look at them, and what a label in a list stands for.

Fewer people look at a product further down. A click needs a look, so clicks of lower products are
too few. Each label therefore has the weight 1 / attention of its position. The weighted clicks of
any order are, in the mean, those of customers who look at every position.

Real shops estimate the attention from lists in random order. This world's shop knows it.

Source: Joachims, Swaminathan and Schnabel, Unbiased Learning-to-Rank with Biased Feedback (2017).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.shop.decisions import MARGIN
from dojo.shop.events import LONGEST_LIST

Positions = npt.NDArray[np.intp]

# Attention falls with this power of the position. Measured values lie from 0.5 to 1.
FALL = 0.6

# Share of people who look at each position, the first one first. Shape (LONGEST_LIST,).
ATTENTION: npt.NDArray[np.float64] = np.arange(1.0, LONGEST_LIST + 1) ** -FALL


def weight(position: pl.Expr) -> pl.Expr:
    """Return the weight of a label at a position (from 1), >= 1. 1 where there is no position."""
    return (position.cast(pl.Float64) ** FALL).fill_null(1.0)


def gain_euro(price: float, bought: bool, would_be: bool) -> float:
    """Return what a position earned with a product against the shop's own order, euro.

    Args:
        price: Euro.
        bought: True if the customer bought it.
        would_be: True if the customer would have bought it in the shop's own order.
    """
    return round(MARGIN * price * (bought - would_be), 2)


def last_seen(chance: npt.NDArray[np.float64], draw: npt.NDArray[np.float64]) -> Positions:
    """Return the last position at which each product is clicked, 0 for none.

    Args:
        chance: Of a click by who looks, shape (rows,).
        draw: Uniform in (0, 1], shape (rows,).
    """
    # Clicked where draw <= chance * attention. Attention falls, so up to some position.
    needed = draw / np.maximum(chance, np.finfo(np.float64).tiny)
    return LONGEST_LIST - np.searchsorted(ATTENTION[::-1], needed, side="left")
