"""Common parts of all computed views: whole units of a value, and a view's columns."""

from __future__ import annotations

import polars as pl

from feature_repo.views import View


def scaled(column: str, scale: int) -> pl.Expr:
    """Return a column as whole units, such as euros as cents."""
    return (pl.col(column) * scale).round(mode="half_to_even").cast(pl.Int64)


def unscaled(whole: pl.Expr, scale: int) -> pl.Expr:
    """Return whole units as the double nearest to the true value, for any other rows in the column.

    It divides by a column and not by a number. In a column of two or more rows, Polars
    turns a number into * 0.01. In a column of one row, it turns it into / 100. The last bit of 0.57
    would then depend on the other rows.
    """
    return whole / (whole * 0 + scale)


def as_view(rows: pl.DataFrame, view: View) -> pl.DataFrame:
    """Return rows in the catalogue's columns, without nulls, sorted by time and entity.

    There is one row per entity and time.
    """
    if rows.is_empty():
        times = {"event_timestamp": pl.Datetime("us", "UTC")}
        return pl.DataFrame(
            schema={view.key: pl.String, **times, **dict.fromkeys(view.names, pl.Float64)}
        )
    return (
        rows.select(
            pl.col(view.key).cast(pl.String),
            "event_timestamp",
            pl.col(view.names).cast(pl.Float64).fill_null(0.0).fill_nan(0.0),
        )
        .unique([view.key, "event_timestamp"])
        .sort("event_timestamp", view.key)
    )
