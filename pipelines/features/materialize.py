"""Lake -> offline store -> online store, as of a world time.

Incremental and idempotent, so running it again changes nothing.

    dojo:features:materialized    hash: view name -> world time (ISO 8601, UTC) of its last run
    dojo:features:mark            in the online store, beside the rows

An online store that was emptied has lost the mark. Then the next run begins anew.
"""

from __future__ import annotations

import contextlib
import io
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import polars as pl
from redis import Redis
from redis.exceptions import RedisError

from dojo.core.lake import Lake, midnight, start_of
from feature_repo.catalog import VIEWS, sources
from feature_repo.freshness import read_freshness, record_freshness
from feature_repo.views import PUBLISH_DELAY, STREAMING_MEMORY, View
from pipelines.features import inputs, offline
from pipelines.features.offline import Progress

if TYPE_CHECKING:
    from feast import FeatureStore

MATERIALIZED_KEY = "dojo:features:materialized"
MARK_KEY = "dojo:features:mark"

# Every run also looks back this far, because late events change rows of earlier days.
OVERLAP = timedelta(days=1)

# How far the first run looks back. Older rows have no meaning, neither older batch rows nor rows
# beyond the streaming memory.
FIRST_LOOK_BACK = {"batch": timedelta(days=1), "streaming": STREAMING_MEMORY}


class EmptyLakeError(RuntimeError):
    """There are no events for computing features."""

    def __init__(self, root: Path) -> None:
        streams = " or ".join(event_streams())
        super().__init__(
            f"no {streams} in the lake ({root}): build the world's history first (dojo data"
            " history)"
        )


@dataclass(frozen=True, slots=True)
class ViewResult:
    """A view brought online.

    Attributes:
        view: Name of the view.
        entities: Entities with rows offered to the online store. It keeps its own row if the
            offered one is not newer. 0 for a streaming view that the streamer keeps fresh.
        as_of: World time of the materialisation.
    """

    view: str
    entities: int
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Materialization:
    """The result of one run. `seconds` are wall time."""

    as_of: datetime
    days_built: int
    rows_built: int
    views: tuple[ViewResult, ...]
    seconds: float


def latest_midnight(as_of: datetime) -> datetime:
    """Return the latest midnight with batch features published at `as_of`."""
    return midnight(as_of - PUBLISH_DELAY)


def materialize(
    lake: Lake,
    store: FeatureStore,
    offline_dir: Path,
    redis: Redis,
    online: Redis,
    as_of: datetime,
    progress: Progress | None = None,
    afresh: bool = False,
) -> Materialization:
    """Bring the offline store up to `as_of`, then the online store.

    Args:
        lake: The events.
        store: Feast's store.
        offline_dir: The offline store.
        redis: Keeps the views' freshness, and what is materialised.
        online: The online store's Redis, which may be the same one.
        as_of: World time.
        progress: Called before each step.
        afresh: Offer all rows, those of views that the streamer keeps fresh too.

    Raises:
        EmptyLakeError: The lake has no events before `as_of`.
        UnreadableFileError: A file of the lake is not whole.
        redis.RedisError: The online store is away, or was emptied meanwhile. Offline days stay.
    """
    started = time.monotonic()
    report = progress or (lambda _what, _share: None)
    if was_emptied(redis, online):
        redis.delete(MATERIALIZED_KEY)
    online.set(MARK_KEY, b"")
    with lake.naming_unreadable():
        days, rows = build_days(
            lake, offline_dir, as_of, lambda what, share: report(f"offline: {what}", 0.7 * share)
        )
    results = []
    for number, view in enumerate(VIEWS.values()):
        report(f"online: {view.name}", 0.7 + 0.3 * number / len(VIEWS))
        results.append(_bring_online(store, view, offline_dir, redis, as_of, afresh))
    if was_emptied(redis, online):
        raise RedisError("the online store was emptied during the run")
    report("done", 1.0)
    return Materialization(as_of, days, rows, tuple(results), round(time.monotonic() - started, 3))


def build_days(
    lake: Lake, offline_dir: Path, as_of: datetime, progress: Progress | None = None
) -> tuple[int, int]:
    """Build the days that the offline store lacks or whose lake files have changed.

    It builds a block of days at a time and notes each day when its files are written. A killed
    build therefore continues where it was.

    Only events before `as_of` are read, so a run as of an earlier time sees no later fact. The day
    of `as_of` itself is built as far as it has come, and again by the next run.

    Returns:
        Days and rows built.
    """
    known = [span for stream in event_streams() if (span := lake.days(stream)) is not None]
    first = min((span[0] for span in known), default=None)
    if first is None or first > as_of.date():
        raise EmptyLakeError(lake.root)
    # The midnight after the last event still has new values.
    last = min(as_of.date(), max(span[1] for span in known) + timedelta(days=1))
    wanted = inputs.fingerprints(lake, first, last)
    if last == as_of.date():
        wanted[last] = f"{wanted[last]} as of {as_of.isoformat()}"
    days = inputs.outdated(offline_dir, wanted, first)
    report = progress or (lambda _what, _share: None)
    done = rows = 0
    for block in _blocks(days):
        reach, until = (
            start_of(block[0]) - offline.HISTORY,
            min(start_of(block[-1]) + timedelta(days=1), as_of),
        )
        streams = {
            stream: rows.collect() for stream, rows in scan_streams(lake, reach, until).items()
        }
        part = _part(report, done / len(days), (done + len(block)) / len(days))
        offline.build_offline(streams, offline_dir, block[0], block[-1], part)
        inputs.record_built(offline_dir, {day: wanted[day] for day in block}, first)
        done += len(block)
        rows += sum(
            _rows(offline.offline_file(offline_dir, view, day)) for view in VIEWS for day in block
        )
    return len(days), rows


def event_streams() -> list[str]:
    """Return the streams of the entities' own events, without the joined streams."""
    return list(dict.fromkeys(view.sources[0].stream for view in VIEWS.values()))


def scan_streams(lake: Lake, start: datetime, end: datetime | None) -> dict[str, pl.LazyFrame]:
    """Return rows with start <= world_time < end, of the streams and columns that features need."""
    columns: dict[str, dict[str, None]] = {}
    for source in sources(VIEWS.values()):
        labels = (
            ["model", "wall_time"] if source.labels_of else []
        )  # whose they are, and the order of corrections
        columns.setdefault(source.stream, {}).update(dict.fromkeys([*source.columns, *labels]))
    return {
        stream: lake.scan(stream, start, end).select(*names) for stream, names in columns.items()
    }


def recorded_until(lake: Lake) -> datetime | None:
    """Return the world time up to which the lake holds every view's events.

    None if some are missing.
    """
    newest = [lake.newest(stream) for stream in event_streams()]
    return None if None in newest else min(moment for moment in newest if moment)


def was_emptied(redis: Redis, online: Redis) -> bool:
    """Return whether the online store has lost what was materialised."""
    return bool(redis.exists(MATERIALIZED_KEY)) and not online.exists(MARK_KEY)


def materialized_as_of(redis: Redis, view: str) -> datetime | None:
    """Return the world time as of which `view` was last materialised. None when never."""
    text = cast("bytes | None", redis.hget(MATERIALIZED_KEY, view))
    return datetime.fromisoformat(text.decode()) if text else None


def _bring_online(
    store: FeatureStore,
    view: View,
    offline_dir: Path,
    redis: Redis,
    as_of: datetime,
    afresh: bool,
) -> ViewResult:
    """Materialise with Feast: per entity the latest row, unless the online one is as new.

    `afresh` looks back as far as a first run, which another process may have done meanwhile.
    """
    before = None if afresh else materialized_as_of(redis, view.name)
    if before is not None and _streamer_serves(redis, view, as_of):
        redis.hset(MATERIALIZED_KEY, view.name, as_of.astimezone(UTC).isoformat())
        return ViewResult(view.name, 0, as_of)
    since = as_of - FIRST_LOOK_BACK[view.kind]
    start = since if before is None else min(before, as_of) - OVERLAP
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):  # Feast prints its progress
        store.materialize(start, as_of, feature_views=[view.name])
    entities, newest = _offered(offline_dir, view, start, as_of)
    redis.hset(MATERIALIZED_KEY, view.name, as_of.astimezone(UTC).isoformat())
    if newest is not None:
        record_freshness(redis, view.name, newest)
    return ViewResult(view.name, entities, as_of)


def _streamer_serves(redis: Redis, view: View, as_of: datetime) -> bool:
    """Return whether the streamer keeps the view within its SLA by itself.

    Offering its rows again would cost half a run for nothing.
    """
    fresh = {judged.view: judged for judged in read_freshness(redis, as_of)}
    return view.kind == "streaming" and fresh[view.name].verdict == "ok"


def _offered(
    offline_dir: Path, view: View, start: datetime, as_of: datetime
) -> tuple[int, datetime | None]:
    """Return the number of entities with a row from `start` to `as_of`, and the newest time."""
    times = (
        pl.scan_parquet(sorted((offline_dir / view.name).glob("*.parquet")), glob=False)
        .filter(pl.col("event_timestamp").is_between(start, as_of))
        .select(
            pl.col(view.key).n_unique().alias("entities"),
            pl.col("event_timestamp").max().alias("newest"),
        )
        .collect()
    )
    return int(times["entities"][0]), times["newest"][0]


def _blocks(days: list[date]) -> list[list[date]]:
    """Return blocks of consecutive days, at most DAYS_AT_ONCE in each.

    This limits the rows in memory to theirs and HISTORY's.
    """
    blocks: list[list[date]] = []
    for day in days:
        if (
            blocks
            and day - blocks[-1][-1] == timedelta(days=1)
            and len(blocks[-1]) < offline.DAYS_AT_ONCE
        ):
            blocks[-1].append(day)
        else:
            blocks.append([day])
    return blocks


def _part(report: Progress, start: float, end: float) -> Progress:
    """Return progress of a part as progress of the whole, from share `start` to share `end`."""
    return lambda what, share: report(what, start + (end - start) * share)


def _rows(file: Path) -> int:
    return int(pl.scan_parquet(file, glob=False).select(pl.len()).collect().item())
