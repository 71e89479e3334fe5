"""Verdicts and measurements as metrics, so that rules and dashboards agree with the event log."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast, get_args

import numpy as np
from prometheus_client import Gauge

from dojo.core.events.types import Check, Verdict
from dojo.core.judging.drift import worst
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.severity import Severity
from dojo.core.spec.monitoring import Levels
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.freshness import ViewFreshness
from dojo.core.state.registry_faults import FaultKind
from dojo.core.tasks.item_bins import equal_items
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.records import Results
from dojo.core.tasks.specs import task_of
from services.monitor.counting.state import Key
from services.monitor.counting.windows import LENGTH, CountedWindow, Kind
from services.monitor.judging.records import HistoryRow, Judged, Measure
from services.monitor.metrics import LEVELS, MonitorMetrics
from services.monitor.serving import ServingVersion

DAY_SECONDS = 86_400.0

# The windows of each check that every task has.
WINDOWS: Mapping[Check, tuple[str, ...]] = {
    "input_drift": ("hour", "day"),
    "prediction_drift": ("hour", "day"),
    "data_quality": ("hour", "day"),
    "performance": ("day",),
    "segments": ("day",),
    "label_delay": ("hour", "day"),
    "labels_missing": ("day",),
    "skew": ("day",),
    "feature_freshness": ("now",),
    "model_freshness": ("now",),
}


def windows_of(spec: ModelSpec) -> dict[Check, tuple[str, ...]]:
    """Return the windows of each of a model's checks."""
    own = {cast("Check", check): windows for check, windows in task_of(spec).proxy_windows.items()}
    return {**WINDOWS, **own}


# Live coverage of a ranking (dojo/core/tasks/item_bins.py: equal_items).
SHOWN_ITEMS = "shown_items"

_PSI_CHECKS = frozenset({"input_drift", "prediction_drift"})


class Gauges:
    """Keeps the metrics of one process at the latest judgements."""

    def __init__(self, metrics: MonitorMetrics) -> None:
        self._metrics = metrics
        self._judged_until: dict[Kind, datetime] = {}

    def begin(self, spec: ModelSpec, latest: Iterable[Verdict]) -> None:
        """Export the spec's levels and the verdicts of an earlier monitor.

        All other checks are insufficient_data until they are judged.
        """
        metrics, watch = self._metrics, spec.drift.performance
        for severity, level in _each(spec.drift.thresholds):
            metrics.threshold.labels(spec.name, severity).set(level)
        for severity, level in _each(spec.drift.champion_age):
            metrics.maximum_age.labels(spec.name, severity).set(level * DAY_SECONDS)
        task = task_of(spec)
        own = {check: key for check in windows_of(spec) if (key := task.level_keys.get(check))}
        own["performance"] = task.level_keys[task.headline]
        levels: dict[Check, Levels] = {
            "data_quality": spec.drift.missing,
            "label_delay": watch.label_delay_ratio,
            "labels_missing": watch.labels_missing,
            "skew": spec.drift.skew.levels,
            "feature_freshness": spec.drift.feature_freshness,
            "model_freshness": spec.drift.champion_age,
            **{check: getattr(watch, key) for check, key in own.items()},
        }
        for check, of in levels.items():
            for severity, level in _each(of):
                metrics.value_threshold.labels(spec.name, check, severity).set(level)
        for check, windows in windows_of(spec).items():
            for window in windows:
                metrics.severity.labels(spec.name, check, window).set(LEVELS["insufficient_data"])
        self._severities(spec, list(latest))

    def restore(self, spec: ModelSpec, check: Check, window: str, row: HistoryRow) -> None:
        """Export the last measurements of an earlier monitor."""
        self._values(spec, check, window, row.values)

    def show(self, spec: ModelSpec, done: Sequence[Judged], latest: Collection[Verdict]) -> None:
        """Export new judgements.

        Args:
            latest: The model's latest verdicts, these included.
        """
        self._severities(spec, latest)
        most: dict[tuple[Check, str], Judged] = {}
        for one in done:
            place = (one.verdict.check, one.verdict.window)
            if place not in most or one.verdict.rows > most[place].verdict.rows:
                most[place] = one
        for (check, window), one in most.items():
            self._values(
                spec,
                check,
                window,
                {name: Measure(m.value, m.noise) for name, m in one.measured.items()},
            )

    def told(self, done: Iterable[Judged]) -> None:
        """Count the verdicts that went to the event log."""
        for verdict in (one.verdict for one in done if one.news):
            self._metrics.verdicts.labels(verdict.model, verdict.check, verdict.severity).inc()

    def judged(self, spec: ModelSpec, kind: Kind, start: datetime, rows: int) -> None:
        """Export a window of all versions: its answers, and that it is judged."""
        end = start + LENGTH[kind]
        if end >= self._judged_until.get(kind, end):  # judging an old window again is not news
            self._judged_until[kind] = end
            self._metrics.judged_until.labels(kind).set(end.timestamp())
            self._metrics.rows.labels(spec.name, kind).set(rows)

    def performance(
        self,
        key: Key,
        live: Results,
        profile: ReferenceProfile,
        day: CountedWindow | None,
        task: Task,
    ) -> None:
        """Export a version's live and holdout figures. A figure with too few rows is absent."""
        known = not task.lacking(live)
        figures = {name: figure.value if known else None for name, figure in live.figures.items()}
        figures |= {
            f"holdout_{name}": figure.value for name, figure in profile.results.figures.items()
        }
        proxies: dict[str, float] = {}
        if day is not None:
            proxies = dict(task.proxies(day.answers, profile.calibration))
        if profile.shown is not None:
            proxies[f"holdout_{SHOWN_ITEMS}"] = equal_items(np.array(profile.shown.bins.counts))
            if day is not None:
                proxies[SHOWN_ITEMS] = equal_items(day.items)
        figures |= {name: value if np.isfinite(value) else None for name, value in proxies.items()}
        for name, value in figures.items():
            _set_or_remove(self._metrics.performance, (*key, name), value)

    def freshness(self, recorded: Mapping[str, ViewFreshness], now: datetime) -> None:
        for view, fresh in recorded.items():
            self._metrics.feature_age.labels(view).set(fresh.age(now).total_seconds())
            self._metrics.feature_sla.labels(view).set(fresh.sla_seconds)

    def roles(self, model: str, serving: ServingVersion | None) -> None:
        """Export whether the registry agrees with the route, and is as the platform left it.

        Args:
            serving: None while the registry is away, or has no version.
        """
        disagrees = math.nan if serving is None else float(bool(serving.disagreement))
        self._metrics.role_disagreement.labels(model).set(disagrees)
        found = {fault.kind for fault in serving.faults} if serving is not None else set()
        for kind in get_args(FaultKind):
            self._metrics.registry_fault.labels(model, kind).set(
                math.nan if serving is None else float(kind in found)
            )

    def forget_version(self, key: Key) -> None:
        for known in _labels_of(self._metrics.performance, model=key[0], version=key[1]):
            self._metrics.performance.remove(*key, known["measure"])

    def _severities(self, spec: ModelSpec, latest: Collection[Verdict]) -> None:
        """Export the worst verdict of each check over its newest window.

        Older windows do not count, because a version may have lost its traffic.
        """
        for check, windows in windows_of(spec).items():
            for window in windows:
                of = [
                    verdict
                    for verdict in latest
                    if verdict.check == check and verdict.window == window
                ]
                if not of:
                    continue
                newest = max(verdict.window_start for verdict in of)
                of = [verdict for verdict in of if verdict.window_start == newest]
                severity = worst([verdict.severity for verdict in of])
                if severity == "insufficient_data" and any(verdict.since for verdict in of):
                    # A night with few rows does not end a trouble. Otherwise its alert would be
                    # resolved, and ring again in the morning.
                    continue
                self._metrics.severity.labels(spec.name, check, window).set(LEVELS[severity])

    def _values(
        self, spec: ModelSpec, check: Check, window: str, values: Mapping[str, Measure]
    ) -> None:
        model = spec.name
        if check in _PSI_CHECKS:
            for feature, measure in values.items():
                _set_or_remove(self._metrics.psi, (model, feature, window), measure.value)
                _set_or_remove(self._metrics.noise, (model, feature, window), measure.noise)
            return
        if check == "performance":
            # One unit per check, so that one threshold fits it. dojo_performance and the verdict
            # hold the others.
            values = {
                name: measure for name, measure in values.items() if name == task_of(spec).headline
            }
        gauge = self._metrics.value
        for known in _labels_of(gauge, model=model, check=check, window=window):
            if known["subject"] not in values:
                gauge.remove(model, check, window, known["subject"])
        for subject, measure in values.items():
            _set_or_remove(gauge, (model, check, window, subject), measure.value)


def _each(levels: Levels) -> list[tuple[Severity, float]]:
    return [
        (severity, getattr(levels, severity))
        for severity in get_args(Severity)
        if hasattr(levels, severity)
    ]


def _labels_of(gauge: Gauge, **having: str) -> list[Mapping[str, str]]:
    """Return the labels of a gauge's series with these values."""
    known = [sample.labels for family in gauge.collect() for sample in family.samples]
    return [labels for labels in known if having.items() <= labels.items()]


def _set_or_remove(gauge: Gauge, labels: tuple[str, ...], value: float | None) -> None:
    if value is not None:
        gauge.labels(*labels).set(value)
        return
    try:
        gauge.remove(*labels)
    except KeyError:
        return
