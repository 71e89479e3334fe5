"""Common parts of all computed views: whole units of a value, and a view's columns."""

from __future__ import annotations

from datetime import date, timedelta

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


def keys_of(rows: pl.DataFrame, key: str) -> pl.Enum:
    """Return the type of a column of keys as numbers in the keys' order.

    Sorting and grouping numbers takes a fraction of the time that strings take.
    """
    return pl.Enum(rows[key].unique().sort())


def within(midnight: date, days: int, delay: int = 0) -> pl.Expr:
    """Return the condition for the `days` days that ended `delay` days before `midnight`.

    It is about the column `day`.
    """
    return pl.col("day").is_between(
        midnight - timedelta(days=days + delay), midnight - timedelta(days=delay), closed="left"
    )


def between(by_day: pl.DataFrame, midnight: date, days: int) -> pl.DataFrame:
    """Return the rows of the `days` days before `midnight`, of a frame sorted by `day`.

    A slice, no copy.
    """
    first = by_day["day"].search_sorted(midnight - timedelta(days=days), side="left")
    last = by_day["day"].search_sorted(midnight, side="left")
    return by_day.slice(first, last - first)


def ratio(numerator: str, denominator: str, scale: int = 1) -> pl.Expr:
    """Return numerator / denominator / scale, and 0 where the denominator is 0."""
    return (
        pl.when(pl.col(denominator) > 0)
        .then(pl.col(numerator) / pl.col(denominator) / scale)
        .otherwise(0.0)
    )


def as_view(rows: pl.DataFrame, view: View) -> pl.DataFrame:
    """Return rows in the catalogue's columns, without nulls, sorted by time and entity.

    There is one row per entity and time. Rows with the same entity and time must be equal.

    Args:
        rows: The features, `event_timestamp`, and the key as a value of `keys_of`.
        view: The view.
    """
    if rows.is_empty():
        times = {"event_timestamp": pl.Datetime("us", "UTC")}
        return pl.DataFrame(
            schema={view.key: pl.String, **times, **dict.fromkeys(view.names, pl.Float64)}
        )
    first = pl.any_horizontal(
        pl.col(name) != pl.col(name).shift() for name in (view.key, "event_timestamp")
    )
    return (
        rows.sort("event_timestamp", view.key)
        .filter(first.fill_null(value=True))
        .select(
            pl.col(view.key).cast(pl.String),
            "event_timestamp",
            pl.col(view.names).cast(pl.Float64).fill_null(0.0).fill_nan(0.0),
        )
    )
