"""How customers, merchants and other numbered things are called, such as C00012-3 and M00012."""

from __future__ import annotations

import polars as pl

from services.simulator.town.population import Ints


def numbered(prefix: str, column: str, digits: int) -> pl.Expr:
    """Ids from a column of numbers. A larger number has more digits."""
    return pl.lit(prefix) + pl.col(column).cast(pl.String).str.zfill(digits)


def customer_id(seat: str, generation: str) -> pl.Expr:
    """Ids of customers from columns. A seat's new inhabitant is a new customer."""
    return pl.format("{}-{}", numbered("C", seat, 5), generation)


def seats(customers: pl.Series) -> Ints:
    """The seats in ids of customers."""
    return customers.str.extract(r"^C(\d+)-").cast(pl.Int64).to_numpy()
