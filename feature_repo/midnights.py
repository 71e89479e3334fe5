"""Sums over events and their labels at midnights, for daily views.

A midnight's rows depend only on earlier events. So a day computed alone equals the same day in a
year's run. Sums are of whole units (cents, minutes), because these are equal in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta

import polars as pl

from feature_repo.columns import between, keys_of, scaled, within
from feature_repo.views import BatchView, EventSource, published_at

# The sums of each entity at a midnight.
Sums = Callable[[date], Sequence[pl.Expr]]


def with_labels(
    events: pl.DataFrame, outcomes: pl.DataFrame, key: str, labels: EventSource, scale: int = 1
) -> pl.DataFrame:
    """Return a row for each outcome of an event, and one for each event without any.

    Args:
        events: Lake columns, unique by `key`.
        outcomes: Lake columns, in the order they became known.
        key: Column that names the event.
        labels: Source of the outcomes.
        scale: Whole units in one of the label.

    Returns:
        The events' columns, `new`, `gained` and `known_from`. `new` is 1 where the event appears
        first, 0 in the rows of corrections. `gained` is what the label adds to the labels known
        before, in whole units, null without an outcome. `known_from` is the first midnight for
        using the outcome, null without one. From then on, the outcome has arrived, and it is
        settled for the event's whole day.
    """
    arrived = outcomes.select(
        pl.col("request_id").alias(key),
        label=scaled("label", scale),
        arrival=pl.col("world_time").dt.date(),
    )
    # An event's outcomes follow each other in the order they became known.
    known = events.join(arrived, on=key, how="left", maintain_order="left_right")
    again = (pl.col(key) == pl.col(key).shift()).fill_null(value=False)
    before = pl.when(again).then(pl.col("label").shift()).otherwise(0)
    one = timedelta(days=1)
    settled_from = pl.col("world_time").dt.date() + labels.settled_after + one
    return known.with_columns(
        new=(~again).cast(pl.Int64),
        gained=pl.col("label") - before,
        known_from=pl.when(pl.col("arrival").is_not_null()).then(
            pl.max_horizontal(settled_from, pl.col("arrival") + one)
        ),
    ).drop("label", "arrival")


def last(column: str, midnight: date, days: int) -> pl.Expr:
    """Return the sum over the events of the `days` days before `midnight`."""
    return (pl.col(column) * pl.col("new")).filter(within(midnight, days)).sum()


def settled(column: str, midnight: date, days: int, labels: EventSource) -> pl.Expr:
    """Return the sum over the outcomes that count at `midnight`.

    Of `gained` it is the sum of the labels, of `new` their number. They belong to the events of the
    `days` days that ended `labels.settled_after` before `midnight`.
    """
    of_window = within(midnight, days, labels.settled_after.days)
    return pl.col(column).filter(of_window & (pl.col("known_from") <= midnight)).sum()


def at_midnights(
    rows: pl.DataFrame, view: BatchView, days: Iterable[date], sums: Sums
) -> pl.DataFrame:
    """Return the sums of each entity seen within the view's reach, at each midnight.

    Args:
        rows: As from `with_labels`.
        view: The view.
        days: The wanted days.
        sums: The sums, which need nothing beyond the view's reach.

    Returns:
        The key, `event_timestamp` and the sums.
    """
    keyed = rows.with_columns(
        pl.col(view.key).cast(keys_of(rows, view.key)), day=pl.col("world_time").dt.date()
    ).sort("day", maintain_order=True)
    found = [
        between(keyed, day, view.reach.days)
        .group_by(view.key)
        .agg(*sums(day))
        .with_columns(event_timestamp=pl.lit(published_at(day)))
        for day in days
    ]
    if found:
        return pl.concat(found)
    nothing = keyed.clear().group_by(view.key).agg(*sums(date.max))
    return nothing.with_columns(event_timestamp=pl.lit(None, pl.Datetime("us", "UTC")))
