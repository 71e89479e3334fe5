"""What both kinds of features share: whole cents, and a view's columns as the catalogue names them."""

from __future__ import annotations

import polars as pl

from feature_repo.catalog import ENTITY_KEYS, View

CENTS_PER_EURO = 100


def cents(amount: str = "amount") -> pl.Expr:
    """A column of euros as whole cents."""
    return (pl.col(amount) * CENTS_PER_EURO).round(mode="half_to_even").cast(pl.Int64)


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
