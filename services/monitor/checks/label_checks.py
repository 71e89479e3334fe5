"""Whether the due labels arrive. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from statistics import NormalDist

from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import LabelDelay, ModelSpec
from dojo.core.tasks.measured import Measured
from dojo.stats.inference.means import two_sided_z

_DAY = timedelta(days=1)


def days_due(delay: LabelDelay) -> int:
    """Return the number of days, today included, with answers whose labels may arrive today."""
    return math.ceil(delay.maximum / _DAY) + 1


def labels_due(answers: Sequence[int], delay: LabelDelay) -> float:
    """Return how many labels a day should bring.

    Args:
        answers: Answers of that day and of the days before it, newest first. A day's answers count
            as made at its noon.
        delay: Lognormal delay. The rest of the labels arrives at its maximum.
    """
    return sum(
        rows * (_arrived(delay, _DAY * (age + 0.5)) - _arrived(delay, _DAY * (age - 0.5)))
        for age, rows in enumerate(answers)
    )


def labels_missing(arrived: int, due: float, spec: ModelSpec) -> dict[str, Measured]:
    """Return the share of the due labels that did not arrive.

    Labels of requests that were never answered also arrive and hide missing ones. In a new world
    this lasts for `label.delay.maximum`.
    """
    levels, subject = spec.drift.performance.labels_missing, "labels"
    note = (
        f"{arrived:,} of about {due:,.0f} labels arrived, expected by the"
        f" {format_duration(spec.label.delay.median)} median"
    )
    if due < spec.drift.minimum_rows:
        return {subject: Measured(subject, None, levels, arrived, note=note)}
    noise = two_sided_z(spec.drift.significance) / math.sqrt(due)  # the count is Poisson
    return {subject: Measured(subject, max(0.0, 1 - arrived / due), levels, arrived, noise, note)}


def missing_by_day(
    arrived: Sequence[int], answers: Sequence[int], spec: ModelSpec
) -> list[dict[str, Measured]]:
    """Return `labels_missing` of each day.

    Args:
        arrived: Labels of each day, newest first.
        answers: Answers of the same days, and of the `days_due` before them.
    """
    back = days_due(spec.label.delay)
    due = (labels_due(answers[age : age + back], spec.label.delay) for age in range(len(arrived)))
    return [
        labels_missing(rows, expected, spec) for rows, expected in zip(arrived, due, strict=True)
    ]


def _arrived(delay: LabelDelay, age: timedelta) -> float:
    """Return the share of labels that arrive within `age`."""
    if age <= timedelta(0):
        return 0.0
    return (
        1.0
        if age >= delay.maximum
        else NormalDist(0, delay.sigma).cdf(math.log(age / delay.median))
    )
