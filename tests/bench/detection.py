"""How soon each kind of drift is found, and how often a quiet day raises an alarm.

It compares three ways: ours, fixed thresholds, and Evidently's preset.

    python -m tests.bench detection        all kinds, 102 quiet days of three worlds: ten minutes
    python -m tests.bench detection --seeds 7 --quiet-days 0 --kinds concept

A version is trained in each world (tests/support/drift_world.py) and answers payments. In quiet
days the payments are unchanged. Otherwise one kind of drift with its default strength changes them
from the second day's noon on. All three ways look at the same payments.

- *Ours* is the monitor's judging (tests/support/bulk_monitor.py) with every check and the spec's
  thresholds. A verdict counts from the end of its window.
- *Fixed* is PSI > 0.1 of any feature or of the scores in an hour, against the whole holdout. It has
  no noise level, no confirmation, and one reference for all hours. Features decided by the clock
  are left out, as in ours. They alone would alarm every hour.
- *Evidently* is its DataDriftPreset with its defaults. It compares each day with 2,000 rows of the
  holdout, as kept by a version. A day is 2,000 drawn rows. Its own decision needs half of the
  columns to drift. The milder reading beside it needs any column. Of the preset, only the metric
  that counts drifted columns is run. The other metrics draw, and take seven times as long for the
  same count.

Drift and quiet days come from the simulator's own code, decided by the seed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from dojo.core.events.types import Verdict
from dojo.core.lake import start_of
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.shop.drift_kinds import KINDS
from dojo.shop.world_drift import new_drift
from dojo.stats.histograms.binning import bin_counts, population_stability_index
from services.monitor.counting.windows import SCORE
from services.monitor.judging.verdicts import TROUBLE
from tests.support.bulk_monitor import DAY, HOUR, BulkMonitor
from tests.support.drift_world import (
    LIVE_FROM,
    Live,
    TrainedWorld,
    live,
    quiet_source,
    train,
)
from tests.support.servers import RedisServer

SEEDS = (7, 11, 13)
QUIET_DAYS = 34  # of each world, 102 together
DRIFTED_WORLDS = 1  # of these worlds, as the kinds cost as much as all quiet days
STARTED = start_of(LIVE_FROM) + DAY + 12 * HOUR

# Days lived after the day before the drift. Ramps, daily confirmation and labels take time.
DAYS = {"concept": 10, "label_delay": 8, "covariate_gradual": 7, "stale_features": 5}
DAYS_OTHERWISE = 5

FIXED_THRESHOLD = 0.1
EVIDENTLY_ROWS = 2_000
DRIFTED_SHARE = 0.5  # of columns, the preset's own default

ENDS = {"hour": HOUR, "day": DAY, "now": HOUR}


@dataclass(frozen=True)
class Found:
    """First alarm of each way, by its name, in world hours from the drift's start."""

    hours: Mapping[str, float]
    by: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--quiet-days", type=int, default=QUIET_DAYS, help="of each world")
    parser.add_argument(
        "--drifted-worlds",
        type=int,
        default=DRIFTED_WORLDS,
        help="of these, how many are lived with drift",
    )
    # A new carrier changes orders, and the fraud model reads payments.
    of_payments = [kind for kind in KINDS if kind != "new_carrier"]
    parser.add_argument("--kinds", nargs="*", default=of_payments, choices=of_payments)
    asked = parser.parse_args(arguments)
    found: dict[str, list[Found]] = {kind: [] for kind in asked.kinds}
    quiet: list[Mapping[str, set[object]]] = []
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as directory:
            world = train(Path(directory) / "world", quiet_source(seed=seed))
            if asked.quiet_days:
                quiet.append(quiet_alarms(world, asked.quiet_days, Path(directory) / "quiet"))
            for kind in asked.kinds if seed in asked.seeds[: asked.drifted_worlds] else ():
                found[kind].append(detection(world, kind, Path(directory) / kind))
                print(f"seed {seed}: {kind}", file=sys.stderr, flush=True)  # noqa: T201
    print(table(found, quiet, asked.drifted_worlds, asked.quiet_days))  # noqa: T201
    return 0


def detection(world: TrainedWorld, kind: str, directory: Path) -> Found:
    """Live through one kind of drift and note the time of each way's first alarm."""
    days = DAYS.get(kind, DAYS_OTHERWISE)
    days_lived = live(world, days, directory / "features", drifts=[new_drift(kind, STARTED)])
    verdicts = watched(days_lived, days, directory)
    hours: dict[str, float] = {}
    for name, severities in (("warning", TROUBLE), ("severe", TROUBLE - {"warning"})):
        ends = [
            end_of(verdict)
            for verdict in verdicts
            if verdict.severity in severities and end_of(verdict) > STARTED
        ]
        if ends:
            hours[name] = (min(ends) - STARTED) / HOUR
    alarms = {"fixed": fixed_alarms(days_lived), **evidently_alarms(days_lived, days, STARTED)}
    for name, ends in alarms.items():
        if after := [end for end in ends if end > STARTED]:
            hours[name] = (min(after) - STARTED) / HOUR
    troubled = [
        verdict for verdict in verdicts if verdict.severity in TROUBLE and end_of(verdict) > STARTED
    ]
    first = min(map(end_of, troubled), default=None)
    return Found(
        hours,
        ", ".join(sorted({f"{v.check} ({v.window})" for v in troubled if end_of(v) == first})),
    )


def quiet_alarms(world: TrainedWorld, days: int, directory: Path) -> Mapping[str, set[object]]:
    """Return the days of a world without drift on which each way raised an alarm."""
    days_lived = live(world, days, directory / "features")
    troubled = [
        verdict for verdict in watched(days_lived, days, directory) if verdict.severity in TROUBLE
    ]
    for one in troubled:
        said = f"false alarm: {one.check} {one.window} {one.window_start:%m-%d %H} {one.summary}"
        print(said, file=sys.stderr, flush=True)  # noqa: T201
    return {
        "warning": {verdict.window_start.date() for verdict in troubled},
        "severe": {
            verdict.window_start.date() for verdict in troubled if verdict.severity != "warning"
        },
        "fixed": {(end - HOUR).date() for end in fixed_alarms(days_lived)},
        **{
            name: {(end - DAY).date() for end in ends}
            for name, ends in evidently_alarms(days_lived, days).items()
        },
    }


def watched(days_lived: Live, days: int, directory: Path) -> list[Verdict]:
    directory.mkdir(parents=True, exist_ok=True)
    redis = RedisServer(directory)
    redis.start()
    try:
        return BulkMonitor(days_lived, redis.url, directory).live_through(days)
    finally:
        redis.stop()


def end_of(verdict: Verdict) -> datetime:
    return verdict.window_start + ENDS[verdict.window]


def fixed_alarms(days_lived: Live) -> list[datetime]:
    """Return the ends of the hours in which a fixed threshold alarms."""
    world = days_lived.world
    profile = ReferenceProfile.read(world.profile_file)
    columns = {
        name: c for name, c in profile.features.items() if name not in world.spec.drift.calendar
    } | {SCORE: profile.score}
    hour_of = pl.col("event_timestamp").dt.truncate("1h").alias("_hour")
    hours = days_lived.rows.with_columns(hour_of).partition_by("_hour", as_dict=True)
    found = []
    for (hour,), rows in sorted(hours.items()):
        for name, column in columns.items():
            counts = bin_counts(
                rows[name].cast(pl.Float32).to_numpy().astype(np.float64), np.asarray(column.edges)
            )
            if population_stability_index(np.asarray(column.counts), counts) > FIXED_THRESHOLD:
                found.append(hour + HOUR)
                break
    return found


def evidently_alarms(
    days_lived: Live, days: int, since: datetime | None = None
) -> dict[str, list[datetime]]:
    """Return the ends of the days that Evidently's preset calls drifted.

    Also returns the ends of days with any drifted column. Days before `since` are skipped.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import DriftedColumnsCount

    world = days_lived.world
    names = [name for name in (*world.features, SCORE) if name not in world.spec.drift.calendar]
    definition = DataDefinition(numerical_columns=names)

    def side(rows: pl.DataFrame) -> Dataset:
        drawn = rows.sample(min(EVIDENTLY_ROWS, rows.height), seed=1).select(
            pl.col(names).cast(pl.Float64)
        )
        return Dataset.from_pandas(drawn.to_pandas(), data_definition=definition)

    reference = side(pl.read_parquet(world.directory / "reference_rows.parquet"))
    found: dict[str, list[datetime]] = {"Evidently": [], "any column": []}
    for offset in range(days):
        start = start_of(world.live_from) + DAY * offset
        rows = days_lived.rows.filter(
            pl.col("event_timestamp").is_between(start, start + DAY, closed="left")
        )
        if since is not None and start + DAY <= since:
            continue
        with np.errstate(all="ignore"):
            snapshot = Report([DriftedColumnsCount(drift_share=DRIFTED_SHARE)]).run(
                side(rows), reference
            )
        share = next(
            m["value"]["share"] for m in snapshot.dict()["metrics"] if "share" in str(m["value"])
        )
        if share >= DRIFTED_SHARE:
            found["Evidently"].append(start + DAY)
        if share > 0:
            found["any column"].append(start + DAY)
        if since is not None and found["Evidently"]:
            break
    return found


def table(
    found: Mapping[str, Sequence[Found]],
    quiet: Sequence[Mapping[str, set[object]]],
    drifted: int,
    quiet_days: int,
) -> str:
    """Return the results as Markdown."""
    ways = ("warning", "severe", "fixed", "Evidently", "any column")
    heads = [
        "ours: warning",
        "ours: severe",
        "fixed PSI > 0.1",
        "Evidently's preset",
        "Evidently: any column",
    ]
    lines = [f"| kind | first seen by | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 2)}"]
    for kind, runs in ((kind, runs) for kind, runs in found.items() if runs):
        checks = "; ".join(sorted({run.by or "-" for run in runs}))
        lines.append(
            f"| `{kind}` | {checks} |"
            f" {' | '.join(_hours([run.hours.get(way) for run in runs]) for way in ways)} |"
        )
    if quiet:
        total = quiet_days * len(quiet)
        rates = [100 * sum(len(world[way]) for world in quiet) / total for way in ways]
        lines.append(
            "| *no drift: days with an alarm, per 100* | |"
            f" {' | '.join(f'{rate:.1f}' for rate in rates)} |"
        )
        lines.append(f"\nDrift-free model-days: {total}, of {len(quiet)} worlds.")
    lines.append(
        f"\nWorlds with drift: {drifted}. World time from the start to the end of the window that"
        " says so, median (lowest-highest)."
    )
    return "\n".join(lines)


def _hours(values: Iterable[float | None]) -> str:
    values = list(values)
    known = sorted(value for value in values if value is not None)
    if not known:
        return "never"
    text = _length(median(known))
    if known[0] != known[-1]:
        text += f" ({_length(known[0])}-{_length(known[-1])})"
    return (
        text
        if len(known) == len(values)
        else f"{text}, {len(values) - len(known)} of {len(values)} never"
    )


def _length(hours: float) -> str:
    return f"{timedelta(hours=hours) / DAY:.1f} d" if hours >= 36 else f"{hours:.0f} h"


if __name__ == "__main__":
    sys.exit(main())
