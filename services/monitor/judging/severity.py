"""The verdicts of one version over one finished window. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from statistics import median
from typing import cast

from dojo.core.events.types import Check, Verdict
from dojo.core.judging.drift import Finding, Measurements, confirm, pace
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.spec.monitoring import Confirmations, Levels
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.measured import Measured
from dojo.core.tasks.specs import task_of
from services.monitor.checks import input_checks as inputs
from services.monitor.checks.input_checks import WindowComparison
from services.monitor.counting.state import NO_VERSION, Key, MonitorMemory
from services.monitor.counting.windows import LENGTH, CountedWindow, Kind
from services.monitor.judging.verdicts import TROUBLE, in_trouble, make_verdict

Measure = Callable[[WindowComparison], Mapping[str, Measured]]

_EVERY_TASK: Mapping[Check, Measure] = {
    "input_drift": inputs.input_drift,
    "prediction_drift": inputs.prediction_drift,
    "data_quality": inputs.data_quality,
}


def checks_of(spec: ModelSpec, kind: Kind) -> dict[Check, Measure]:
    """Return the measures for a window of this kind: those of every task, and the task's own."""
    task = task_of(spec)
    own = [cast("Check", check) for check, kinds in task.proxy_windows.items() if kind in kinds]
    return {
        **_EVERY_TASK,
        **{check: partial(inputs.proxy_check, check=check, task=task) for check in own},
    }


# How many windows back a judgement looks. It needs them for confirmation, for the pace of a change,
# and as quiet windows of an adaptive feature. Windows with too few rows (nights) are skipped. Older
# windows are no longer comparable.
LOOK_BACK: dict[Kind, int] = {"hour": 48, "day": 28}

# Thresholds of adaptive features rise to where quiet windows rarely get: their median and this many
# deviations. 3.5 is Iglewicz and Hoaglin's limit for outliers in a sample.
ADAPTIVE_DEVIATIONS = 3.5
ADAPTIVE_WINDOWS = 8  # minimum number of quiet windows for an estimate


@dataclass
class MeasuredBefore:
    """Earlier measurements: (version, kind, start, rows) -> check -> measurements."""

    known: dict[tuple[Key, Kind, datetime, int], dict[Check, Measurements]] = field(
        default_factory=dict
    )

    def trim(self, oldest: datetime) -> None:
        self.known = {key: value for key, value in self.known.items() if key[2] >= oldest}


@dataclass(frozen=True)
class WindowUnderTest:
    """One window of one version."""

    spec: ModelSpec
    key: Key
    kind: Kind
    start: datetime
    now: datetime

    @property
    def rule(self) -> Confirmations:
        return self.spec.drift.hourly if self.kind == "hour" else self.spec.drift.daily


def judge_window(
    case: WindowUnderTest,
    known: MonitorMemory,
    memory: MeasuredBefore,
    previous: Mapping[Check, Verdict],
    missing_profile: str = "",
) -> list[tuple[Verdict, Measurements]]:
    """Return every check of the window with its measurements.

    Args:
        previous: The verdicts over the window before.
        missing_profile: Why the version has no profile, when it has none.
    """
    window = known.window(case.key, case.kind, case.start) or CountedWindow()
    profile = known.profiles.get(case.key)
    if profile is None:
        return [
            (
                _verdict(
                    case,
                    check,
                    (),
                    window.rows,
                    previous.get(check),
                    without=missing_profile or "no reference profile",
                ),
                {},
            )
            for check in checks_of(case.spec, case.kind)
        ]
    earlier = _earlier(case, known, profile, memory)
    found = []
    for check, measure in checks_of(case.spec, case.kind).items():
        past = [measurements[check] for _, measurements in earlier]
        unanswered = known.rows((case.spec.name, NO_VERSION), case.kind, case.start)
        asked = WindowComparison(
            window, case.kind, case.start, profile, case.spec.drift, unanswered
        )
        now = measure(asked) if window.rows else {}
        if check == "input_drift" and now and case.spec.drift.adaptive:
            levels = _adaptive_levels(
                now, past, [start for start, _ in earlier], case.spec, previous.get(check)
            )
            now, past = _with_levels(now, levels), [_with_levels(m, levels) for m in past]
        found.append(
            (
                _judged(
                    case,
                    check,
                    now,
                    past,
                    [start for start, _ in earlier],
                    window,
                    previous.get(check),
                ),
                now,
            )
        )
    memory.known[case.key, case.kind, case.start, window.rows] = {
        verdict.check: now for verdict, now in found
    }
    return found


def _earlier(
    case: WindowUnderTest, known: MonitorMemory, profile: ReferenceProfile, memory: MeasuredBefore
) -> list[tuple[datetime, dict[Check, Measurements]]]:
    """Return earlier windows with enough rows and their measurements, oldest first."""
    found = []
    for back in range(LOOK_BACK[case.kind], 0, -1):
        start = case.start - LENGTH[case.kind] * back
        window = known.window(case.key, case.kind, start)
        if window is None or window.rows < case.spec.drift.minimum_rows:
            continue
        remembered = memory.known.get((case.key, case.kind, start, window.rows))
        if remembered is None:
            unanswered = known.rows((case.spec.name, NO_VERSION), case.kind, start)
            asked = WindowComparison(window, case.kind, start, profile, case.spec.drift, unanswered)
            remembered = {
                check: measure(asked) for check, measure in checks_of(case.spec, case.kind).items()
            }
            memory.known[case.key, case.kind, start, window.rows] = remembered
        found.append((start, remembered))
    return found


def _judged(
    case: WindowUnderTest,
    check: Check,
    now: Measurements,
    past: Sequence[Measurements],
    starts: Sequence[datetime],
    window: CountedWindow,
    previous: Verdict | None,
) -> Verdict:
    findings = confirm([*past, now], case.rule) if now else ()
    if not findings or findings[0].severity not in TROUBLE:
        return _verdict(case, check, findings, window.rows, previous)
    subject = findings[0].subject
    recent = list(zip(starts, past, strict=True))[-case.rule.of + 1 :] if case.rule.of > 1 else []
    since = next(
        (start for start, m in recent if subject in m and m[subject].severity in TROUBLE),
        case.start,
    )
    values = [
        value for m in (*past, now) if subject in m and (value := m[subject].value) is not None
    ]
    return _verdict(case, check, findings, window.rows, previous, since, pace(values))


def _verdict(
    case: WindowUnderTest,
    check: Check,
    findings: Sequence[Finding],
    rows: int,
    previous: Verdict | None,
    since: datetime | None = None,
    how: str = "",
    without: str = "",
) -> Verdict:
    if not without and rows < case.spec.drift.minimum_rows:
        without = f"{rows:,} answers, {case.spec.drift.minimum_rows:,} are needed"
    model, version = case.key
    return make_verdict(
        model=model, version=version, check=check, window=case.kind, start=case.start,
        now=case.now, findings=findings,
        rows=rows, since=since, previous=previous, pace=how, without=without,
    )  # fmt: skip


def _adaptive_levels(
    now: Measurements,
    past: Sequence[Measurements],
    starts: Sequence[datetime],
    spec: ModelSpec,
    previous: Verdict | None,
) -> dict[str, Levels]:
    """Return the thresholds of the adaptive features, raised by their quiet windows."""
    since = previous.since if previous is not None else None
    troubled = (
        {f.subject: f for f in previous.findings if in_trouble(f)}
        if previous is not None and since
        else {}
    )
    # Windows that may confirm the finding do not count, so that a change cannot excuse itself.
    recent = max(spec.drift.hourly.of, spec.drift.daily.of)
    found = {}
    for name in set(spec.drift.adaptive) & set(now):
        finding = troubled.get(name)
        # While the feature is in trouble, no window of the trouble counts.
        windows = (
            [m for start, m in zip(starts, past, strict=True) if since is None or start < since]
            if finding
            else past[:-recent]
        )
        quiet = [value for m in windows if name in m and (value := m[name].value) is not None]
        if len(quiet) >= ADAPTIVE_WINDOWS:
            found[name] = raised(now[name].levels, quiet)
        elif finding is not None:  # quiet windows are gone: keep the rise of the last judgement
            found[name] = _raised_as(finding, now[name].levels)
    return found


def _raised_as(finding: Finding, levels: Levels) -> Levels:
    """Return thresholds raised by as much as the finding's was."""
    if finding.threshold is None:
        return levels
    own = getattr(levels, finding.severity) if finding.severity in TROUBLE else levels.warning
    return _higher(levels, max(0.0, finding.threshold - own))


def _with_levels(measured: Measurements, levels: Mapping[str, Levels]) -> dict[str, Measured]:
    return {
        name: replace(m, levels=levels[name]) if name in levels else m
        for name, m in measured.items()
    }


def raised(levels: Levels, quiet: Sequence[float]) -> Levels:
    """Return the thresholds raised by a value that the feature rarely reaches while quiet."""
    middle = median(quiet)
    deviation = 1.4826 * median(abs(value - middle) for value in quiet)
    usual = middle + ADAPTIVE_DEVIATIONS * deviation
    return _higher(levels, usual)


def _higher(levels: Levels, by: float) -> Levels:
    return Levels(
        warning=levels.warning + by, severe=levels.severe + by, critical=levels.critical + by
    )
