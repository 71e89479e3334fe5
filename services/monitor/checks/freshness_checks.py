"""Checks of the present: delay of labels, measured skew, freshness of features and model. Pure."""

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
    """Return the median delay of arriving labels, as a multiple of the promised median.

    Faster labels raise no alert. The noise is that of a lognormal median. The standard error of its
    logarithm is sigma * sqrt(pi / 2 / rows).
    """
    levels, rows, median = spec.drift.performance.label_delay_ratio, labels.rows, labels.median()
    if median is None or rows < spec.drift.minimum_rows:
        return {"median": Measured("median", None, levels, rows, note="labels arrived")}
    promised = spec.label.delay.median
    error = spec.label.delay.sigma * math.sqrt(math.pi / 2 / rows)
    noise = math.exp(two_sided_z(spec.drift.significance) * error)
    note = f"median {format_duration(_whole_minutes(median))}, promised {format_duration(promised)}"
    return {
        "median": Measured("median", median / promised.total_seconds(), levels, rows, noise, note)
    }


def skew(measurement: SkewMeasurement, spec: ModelSpec) -> dict[str, Measured]:
    """Return the share of sampled requests with a difference between a served and offline value."""
    worst = ", ".join(
        f"{name} ({count})" for name, count in list(measurement.differing.items())[:5]
    )
    value = measurement.share if measurement.sampled else None
    return {
        "requests": Measured(
            "requests", value, spec.drift.skew.levels, measurement.sampled, note=worst
        )
    }


def overdue_skew(last: SkewMeasurement, spec: ModelSpec) -> dict[str, Measured]:
    """Return a result without a value, because the last measurement is too old."""
    note = f"not measured since {last.day:%Y-%m-%d}"
    return {"requests": Measured("requests", None, spec.drift.skew.levels, 0, note=note)}


def feature_freshness(
    recorded: Mapping[str, ViewFreshness],
    views: Mapping[str, timedelta],
    spec: ModelSpec,
    now: datetime,
) -> dict[str, Measured]:
    """Return the age of each view as a multiple of its SLA.

    Args:
        recorded: The notes of the views' writers.
        views: The model's views with their SLA.
    """
    found = {}
    for view, sla in views.items():
        fresh = recorded.get(view)
        value = fresh.age(now) / sla if fresh is not None else None
        note = (
            f"{format_duration(_whole_minutes(fresh.age(now).total_seconds()))} old"
            if fresh
            else "never written"
        )
        found[view] = Measured(
            view, value, spec.drift.feature_freshness, 1 if fresh else 0, note=note
        )
    return found


def model_freshness(
    trained_as_of: datetime | None, spec: ModelSpec, now: datetime
) -> dict[str, Measured]:
    """Return the age of the serving version's training data in days."""
    age = None if trained_as_of is None else max(0.0, (now - trained_as_of) / timedelta(days=1))
    note = (
        "no serving version is known"
        if trained_as_of is None
        else f"trained on data until {trained_as_of:%Y-%m-%d %H:%M}"
    )
    return {
        "champion": Measured(
            "champion", age, spec.drift.champion_age, 0 if age is None else 1, note=note
        )
    }


def _whole_minutes(seconds: float) -> timedelta:
    return timedelta(minutes=max(1, round(seconds / 60)))
