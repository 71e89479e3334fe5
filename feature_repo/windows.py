"""The two computations of a streaming view, for the streamer and for the offline store.

Values are whole numbers until the last step (`StreamingView.scale`). So both give the same bits, in
any order of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from feature_repo.views import StreamingView, Window

if TYPE_CHECKING:
    import polars as pl

# A streaming row becomes visible right after its event, so that the event itself never sees it.
JUST_AFTER = timedelta(microseconds=1)

MICROSECOND = timedelta(microseconds=1)


def online_row(
    view: StreamingView, times: Sequence[int], values: Sequence[int]
) -> dict[str, float]:
    """Return the view's features of one entity.

    Args:
        view: The view.
        times: Times of the entity's recent events, microseconds since 1970, ascending, at least
            one.
        values: Values in whole units, same order.
    """
    return {
        name: _online(window, view.scale, times, values) for name, window in view.windows.items()
    }


def _online(window: Window, scale: int, times: Sequence[int], values: Sequence[int]) -> float:
    oldest = times[-1] - window.length // MICROSECOND
    inside = [value for time, value in zip(times, values, strict=True) if time > oldest]
    match window.aggregate:
        case "latest_time":
            return times[-1] / 1_000_000
        case "count":
            return float(len(inside))
        case "sum":
            return sum(inside) / scale
        case "max":
            return max(inside) / scale


def offline_rows(view: StreamingView, events: pl.DataFrame) -> pl.DataFrame:
    """Return the view at each event, including the event itself.

    Args:
        view: The view.
        events: Lake columns, unique by event. They begin `view.reach` before the first wanted row.

    Returns:
        The key, `event_timestamp` (JUST_AFTER the event) and the features (Float64).
    """
    import polars as pl

    from feature_repo.columns import as_view, keys_of, scaled

    whole = pl.lit(0, pl.Int64) if view.value is None else scaled(view.value, view.scale)
    rows = events.select(
        pl.col(view.key).cast(keys_of(events, view.key)),
        "world_time",
        value=whole,
        one=pl.lit(1, pl.Int64),
    ).sort(view.key, "world_time")
    features = (_offline(window, view).alias(name) for name, window in view.windows.items())
    return as_view(
        rows.select(
            view.key, (pl.col("world_time") + JUST_AFTER).alias("event_timestamp"), *features
        ),
        view,
    )


def _offline(window: Window, view: StreamingView) -> pl.Expr:
    import polars as pl

    from feature_repo.columns import unscaled

    def rolling(column: str, aggregate: str) -> pl.Expr:
        expression: pl.Expr = getattr(pl.col(column), f"rolling_{aggregate}_by")(
            "world_time", window.length, closed="right"
        )
        return expression.over(view.key)

    match window.aggregate:
        case "latest_time":
            return pl.col("world_time").dt.epoch("us") / 1_000_000
        case "count":
            return rolling("one", "sum")
        case "sum" | "max":
            return unscaled(rolling("value", window.aggregate), view.scale)
