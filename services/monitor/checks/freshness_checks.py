"""Checks of what is true now: labels' delay, measured skew, freshness of features and of the model. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.freshness import ViewFreshness
from dojo.core.state.skew import SkewMeasurement
from dojo.core.tasks.measured import Measured
from dojo.stats.inference.means import two_sided_z
from services.monitor.counting.windows import LabelWindow


def label_delay(labels: LabelWindow, spec: ModelSpec) -> dict[str, Measured]:
    """How many times the promised median labels take that arrive now. Faster ones are no trouble.

    The noise is that of a lognormal median: its logarithm has a standard error of sigma * sqrt(pi / 2 / rows).
    """
    levels, rows, median = spec.drift.performance.label_delay_ratio, labels.rows, labels.median()
    if median is None or rows < spec.drift.minimum_rows:
        return {"median": Measured("median", None, levels, rows, note="labels arrived")}
    promised = spec.label.delay.median
    error = spec.label.delay.sigma * math.sqrt(math.pi / 2 / rows)
    noise = math.exp(two_sided_z(spec.drift.significance) * error)
    note = f"median {format_duration(_whole_minutes(median))}, promised {format_duration(promised)}"
    return {"median": Measured("median", median / promised.total_seconds(), levels, rows, noise, note)}


def skew(measurement: SkewMeasurement, spec: ModelSpec) -> dict[str, Measured]:
    """Share of the sampled requests in which a served feature differs from the offline one."""
    worst = ", ".join(f"{name} ({count})" for name, count in list(measurement.differing.items())[:5])
    value = measurement.share if measurement.sampled else None
    return {"requests": Measured("requests", value, spec.drift.skew.levels, measurement.sampled, note=worst)}


def overdue_skew(last: SkewMeasurement, spec: ModelSpec) -> dict[str, Measured]:
    """What a measurement of long ago says of now: nothing."""
    note = f"not measured since {last.day:%Y-%m-%d}"
    return {"requests": Measured("requests", None, spec.drift.skew.levels, 0, note=note)}


def feature_freshness(
    recorded: Mapping[str, ViewFreshness], views: Mapping[str, timedelta], spec: ModelSpec, now: datetime
) -> dict[str, Measured]:
    """Age of each view in its SLAs.

    Args:
        recorded: what their writers noted. views: those that the model reads, with their SLA.
    """
    found = {}
    for view, sla in views.items():
        fresh = recorded.get(view)
        value = fresh.age(now) / sla if fresh is not None else None
        note = f"{format_duration(_whole_minutes(fresh.age(now).total_seconds()))} old" if fresh else "never written"
        found[view] = Measured(view, value, spec.drift.feature_freshness, 1 if fresh else 0, note=note)
    return found


def model_freshness(trained_as_of: datetime | None, spec: ModelSpec, now: datetime) -> dict[str, Measured]:
    """Age of the serving version's training data, days."""
    age = None if trained_as_of is None else max(0.0, (now - trained_as_of) / timedelta(days=1))
    note = "no serving version is known" if trained_as_of is None else f"trained on data until {trained_as_of:%Y-%m-%d %H:%M}"
    return {"champion": Measured("champion", age, spec.drift.champion_age, 0 if age is None else 1, note=note)}


def _whole_minutes(seconds: float) -> timedelta:
    return timedelta(minutes=max(1, round(seconds / 60)))
