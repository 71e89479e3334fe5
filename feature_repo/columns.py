"""What all computed views share: whole units of a value, and a view's columns."""

from __future__ import annotations

import polars as pl

from feature_repo.views import View


def scaled(column: str, scale: int) -> pl.Expr:
    """A column as whole units, such as euros as cents."""
    return (pl.col(column) * scale).round(mode="half_to_even").cast(pl.Int64)


def unscaled(whole: pl.Expr, scale: int) -> pl.Expr:
    """Whole units as the double nearest to the true value, whatever else is in the column.

    By a column, not by a number: that Polars does as * 0.01 in a column of two or more rows, and as / 100 in one of one row. The last bit of
    0.57 would depend on what else was computed with it.
    """
    return whole / (whole * 0 + scale)


def as_view(rows: pl.DataFrame, view: View) -> pl.DataFrame:
    """Rows in the catalogue's columns, without nulls, one per entity and time, in order of time and entity."""
    if rows.is_empty():
        times = {"event_timestamp": pl.Datetime("us", "UTC")}
        return pl.DataFrame(schema={view.key: pl.String, **times, **dict.fromkeys(view.names, pl.Float64)})
    return (
        rows.select(
            pl.col(view.key).cast(pl.String),
            "event_timestamp",
            pl.col(view.names).cast(pl.Float64).fill_null(0.0).fill_nan(0.0),
        )
        .unique([view.key, "event_timestamp"])
        .sort("event_timestamp", view.key)
    )
