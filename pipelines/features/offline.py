"""The offline store: feature values as Parquet files, one per view and day.

    <directory>/<view>/date=2018-06-10.parquet

A batch view's file holds the midnight that begins its day, and a streaming view's file the day's
events. Files are replaced whole, and the same lake rows give the same content. So a repeated run or
a late event changes nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from importlib import import_module
from pathlib import Path

import polars as pl

from dojo.core.labels import in_order_known
from dojo.core.lake import start_of, write_parquet_atomically
from feature_repo import windows
from feature_repo.catalog import VIEWS, batch_views, sources, streaming_views
from feature_repo.views import PUBLISH_DELAY, BatchView, EventSource, StreamingView, View

# Called with the name of a step and the share of the work done, in [0, 1].
Progress = Callable[[str, float], None]

# How far the lake must reach back before the first day to build.
HISTORY = max(
    [*(view.reach for view in batch_views()), *(view.reach for view in streaming_views())]
)

# Days computed and written at a time. Limits memory to a month's rows, for any span.
DAYS_AT_ONCE = 31


def offline_file(directory: Path, view: str, day: date) -> Path:
    return directory / view / f"date={day.isoformat()}.parquet"


def files_before(directory: Path, day: date) -> list[Path]:
    """Return every view's files of earlier days."""
    return [
        file
        for file in sorted(directory.glob("*/date=*.parquet"))
        if file.name < f"date={day.isoformat()}.parquet"
    ]


def delete_days(directory: Path, before: date) -> None:
    """Delete every view's files of days before `before`. A deleted day is not built again."""
    for file in files_before(directory, before):
        file.unlink(missing_ok=True)


def build_offline(
    streams: Mapping[str, pl.DataFrame],
    directory: Path,
    start: date,
    end: date,
    progress: Progress | None = None,
    views: Collection[View] = VIEWS.values(),
) -> None:
    """Compute and write the files of the days from `start` to `end`, both included.

    Args:
        streams: Lake rows of every stream needed by the views. Rows from HISTORY before `start` on
            are used, and rows outside are ignored.
        directory: The offline store.
        start: First day.
        end: Last day.
        progress: Called after each view.
        views: The views to compute. All by default.
    """
    rows = source_rows(streams, views)
    days = [start + timedelta(days=offset) for offset in range((end - start).days + 1)]
    blocks = [days[i : i + DAYS_AT_ONCE] for i in range(0, len(days), DAYS_AT_ONCE)]
    steps, done = len(blocks) * len(views), 0
    for block in blocks:
        for view in views:
            _write(view_rows(view, rows, block), view, directory, block)
            done += 1
            if progress is not None:
                progress(view.name, done / steps)


def source_rows(
    streams: Mapping[str, pl.DataFrame], views: Collection[View]
) -> dict[EventSource, pl.DataFrame]:
    """Return each source's part of its stream.

    That is all labels of one model in the order they became known, or each key once. An outcome
    without a label says that it will never be known.
    """
    found = {}
    for source in sources(views):
        rows = streams[source.stream]
        if source.labels_of is not None:
            labels = rows.filter(pl.col("model") == source.labels_of).drop_nulls("label")
            found[source] = in_order_known(labels).select(source.columns)
        else:
            found[source] = rows.select(source.columns).unique(
                source.key, keep="first", maintain_order=True
            )
    return found


def view_rows(
    view: View, rows: Mapping[EventSource, pl.DataFrame], days: Sequence[date]
) -> pl.DataFrame:
    """Return the view's rows of `days`, in order of their midnights or of the events."""
    assert isinstance(view, BatchView | StreamingView)
    first, end = start_of(days[0]), start_of(days[-1]) + timedelta(days=1)
    # A joined row, such as an outcome, comes after the event that it is about.
    own, *joined = (_between(rows[source], first - view.reach, end) for source in view.sources)
    if isinstance(view, BatchView):
        module, _, function = view.compute.partition(":")
        computed: pl.DataFrame = getattr(import_module(module), function)(own, *joined, days)
        return computed
    computed = windows.offline_rows(view, own)
    return computed.filter(pl.col("event_timestamp") > first)


def _write(rows: pl.DataFrame, view: View, directory: Path, days: list[date]) -> None:
    visible_after = PUBLISH_DELAY if view.kind == "batch" else windows.JUST_AFTER
    times = rows["event_timestamp"]  # in order
    for day in days:
        begin = start_of(day) + visible_after
        first, end = (
            times.search_sorted(moment, side="left")
            for moment in (begin, begin + timedelta(days=1))
        )
        write_parquet_atomically(
            rows.slice(first, end - first), offline_file(directory, view.name, day)
        )


def _between(rows: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    return rows.filter(pl.col("world_time").is_between(start, end, closed="left"))
