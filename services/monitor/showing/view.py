"""The terminal views: each check's verdict, its evidence and its course.

They turn records into Rich renderables. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dojo.core.events.types import Verdict
from dojo.core.judging.drift import Finding
from dojo.core.severity import ORDER, Severity, appearance_of, drawn
from dojo.core.spec.durations import format_duration
from dojo.core.state.verdict_marks import Mark
from dojo.core.tasks.measured import Distances
from services.monitor.judging.records import HistoryRow
from services.monitor.judging.tuning import Proposal
from services.monitor.judging.verdicts import TROUBLE

_BARS = "▁▂▃▄▅▆▇█"

# Points of a line. 24 are a day of hours, or three weeks of days. The table of all checks has half
# of that.
LINE, SHORT_LINE = 24, 12


def overview(model: str, verdicts: Sequence[Verdict], lines: dict[str, str]) -> RenderableType:
    """Return a row per check, window and version, with the reason below it. Fits 80 columns.

    Args:
        lines: Verdict's id -> sparkline of its worst subject.
    """
    ordered = sorted(
        verdicts, key=lambda v: (-ORDER.index(v.severity), v.check, v.window, v.version)
    )
    table = Table(
        "check",
        "window",
        "v",
        "verdict",
        "course",
        title=f"{model}: what the monitor thinks",
        title_justify="left",
    )
    for verdict in ordered:
        table.add_row(
            verdict.check,
            f"{verdict.window:4} {verdict.window_start:%dT%H}",
            verdict.version or "-",
            _state(verdict.severity),
            lines.get(verdict.event_id, "")[-SHORT_LINE:],
        )
    why = []
    for verdict in ordered:
        since = f", since {verdict.since:%m-%d %H:%M}" if verdict.since else ""
        head = (
            f"{verdict.check} ({verdict.window}, {verdict.rows:,} rows{since}): ",
            appearance_of(verdict.severity).style,
        )
        why.append(Text.assemble(head, verdict.summary))
    return Group(table, *why)


def details(
    verdict: Verdict, history: Sequence[HistoryRow], mark: Mark | None, report: str | None
) -> RenderableType:
    """Return one verdict with all its evidence."""
    head = Text.assemble(
        (verdict.check, "bold"),
        f" over the {verdict.window} from {verdict.window_start:%Y-%m-%d %H:%M}, version"
        f" {verdict.version or '-'}: ",
        (drawn(verdict.severity), appearance_of(verdict.severity).style),
        f", {verdict.rows:,} rows",
    )
    lines: list[RenderableType] = [head, Text(verdict.summary)]
    if verdict.since is not None:
        lasts = (
            format_duration(verdict.window_start - verdict.since)
            if verdict.window_start > verdict.since
            else "this window"
        )
        lines.append(Text(f"since {verdict.since:%Y-%m-%d %H:%M} ({lasts})"))
    table = Table(
        "subject",
        "verdict",
        "measured",
        "threshold",
        "chance",
        "windows",
        "rows",
        "course",
        "beside",
        "note",
    )
    for finding in verdict.findings:
        table.add_row(
            finding.subject,
            _state(finding.severity),
            *(_number(value) for value in (finding.value, finding.threshold, finding.noise)),
            finding.confirmed,
            f"{finding.rows:,}",
            sparkline(course(history, finding.subject, verdict.version), finding.threshold),
            _beside(finding.distances),
            finding.note,
        )
    lines.append(table)
    if report:
        lines.append(Text(f"drift report: {report}"))
    if mark is not None:
        lines.append(Text(f"marked as a false alarm by {mark.who}: {mark.why}", style="yellow"))
    elif verdict.severity in TROUBLE:
        lines.append(Text(f"id {verdict.event_id}", style="dim"))
        lines.append(
            Text(
                f"nothing wrong? dojo drift mark {verdict.model} {verdict.event_id} --false-alarm"
                " --why ...",
                style="dim",
            )
        )
    return Group(*lines)


def course(history: Sequence[HistoryRow], subject: str, version: str) -> list[float]:
    """Return a subject's values over the latest windows, oldest first."""
    values = [
        row.values[subject].value
        for row in history
        if row.version == version and subject in row.values
    ]
    return [value for value in values if value is not None][-LINE:]


def sparkline(values: Sequence[float], threshold: float | None = None) -> str:
    """Return a line of block characters, "" for fewer than two values.

    Args:
        threshold: Value of full height, unless a value is higher. Quiet values then look quiet.
    """
    if len(values) < 2:
        return ""
    top = max(*values, threshold or 0.0)
    return "".join(
        _BARS[min(int(value / top * len(_BARS)), len(_BARS) - 1)] if top > 0 else _BARS[0]
        for value in values
    )


def worst(findings: Sequence[Finding]) -> Finding | None:
    """Return the finding whose course is shown.

    It is the first trouble, or else the finding nearest to its threshold.
    """
    if not findings or findings[0].severity in TROUBLE:
        return findings[0] if findings else None
    return max(findings, key=lambda f: (f.value or 0.0) / (f.threshold or 1.0))


def proposals(model: str, found: Sequence[Proposal], marks: Collection[Mark]) -> RenderableType:
    if not found:
        return Text(
            f"{model}: nothing to change; {len(marks)} false alarms are marked, and quiet windows"
            " keep well below the thresholds"
        )
    table = Table(
        "proposal",
        "now",
        "proposed",
        "why",
        title=f"{model}: {len(marks)} false alarms marked",
        title_justify="left",
    )
    for one in found:
        table.add_row(one.setting, one.now, one.proposed, one.why)
    return table


def _state(severity: Severity) -> Text:
    return Text(drawn(severity), style=appearance_of(severity).style)


def _beside(distances: Distances | None) -> str:
    """Return other distances in a few characters: `KS 0.31-0.38 JS 0.082 W 12`."""
    if distances is None:
        return ""
    ks, wasserstein = distances.ks, distances.wasserstein
    shown = [
        "" if ks is None else f"KS {ks[0]:.2f}-{ks[1]:.2f}",
        f"JS {distances.jensen_shannon:.3f}",
        "" if wasserstein is None else f"W {wasserstein:.3g}",
    ]
    return " ".join(part for part in shown if part)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
