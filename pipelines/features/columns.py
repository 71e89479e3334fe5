"""What both kinds of features share: whole cents, and a view's columns as the catalogue names them."""

from __future__ import annotations

import polars as pl

from feature_repo.catalog import ENTITY_KEYS, View

CENTS_PER_EURO = 100


def cents(amount: str = "amount") -> pl.Expr:
    """A column of euros as whole cents."""
    return (pl.col(amount) * CENTS_PER_EURO).round(mode="half_to_even").cast(pl.Int64)


def in_euro(whole_cents: pl.Expr) -> pl.Expr:
    """Cents as euro, the double nearest to the true amount, whatever else is in the column.

    By a column, not by a number: that Polars does as * 0.01 in a column of two or more rows, and as / 100 in one of one row. The last bit of
    0.57 would depend on what else was computed with it.
    """
    return whole_cents / (whole_cents * 0 + CENTS_PER_EURO)


def as_view(rows: pl.DataFrame, view: View) -> pl.DataFrame:
    """Rows in the catalogue's columns, without nulls, one per entity and time, in order of time and entity."""
    key = ENTITY_KEYS[view.entity]
    names = [feature.name for feature in view.features]
    if rows.is_empty():
        return pl.DataFrame(
            schema={key: pl.String, "event_timestamp": pl.Datetime("us", "UTC"), **dict.fromkeys(names, pl.Float64)}
        )
    return (
        rows.select(pl.col(key).cast(pl.String), "event_timestamp", pl.col(names).cast(pl.Float64).fill_null(0.0).fill_nan(0.0))
        .unique([key, "event_timestamp"])
        .sort("event_timestamp", key)
    )
