"""What people look at: each check's verdict, what it rests on, and how it came. Rich renderables from records; no I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dojo.durations import format_duration
from dojo.events import Finding, Severity, Verdict
from services.monitor.measured import ORDER
from services.monitor.records import HistoryRow, Mark
from services.monitor.tuning import Proposal
from services.monitor.verdicts import TROUBLE

COLOURS: dict[Severity, str] = {
    "insufficient_data": "dim",
    "ok": "green",
    "warning": "yellow",
    "severe": "red",
    "critical": "bold red",
}

_BARS = "▁▂▃▄▅▆▇█"

# Points of a line: a day of hours, or three weeks of days.
LINE = 24


def overview(model: str, verdicts: Sequence[Verdict], lines: dict[str, str]) -> Table:
    """One row per check, window and version. lines: verdict's id -> sparkline of its worst subject."""
    table = Table(title=f"{model}: what the monitor thinks", title_justify="left")
    for column in ("check", "window", "version", "verdict", "since", "rows", "course", "why"):
        table.add_column(
            column, justify="right" if column == "rows" else "left", overflow="fold", ratio=1 if column == "why" else None
        )
    for verdict in sorted(verdicts, key=lambda v: (-ORDER.index(v.severity), v.check, v.window, v.version)):
        table.add_row(
            verdict.check,
            f"{verdict.window} {verdict.window_start:%m-%d %H:%M}",
            verdict.version or "-",
            Text(verdict.severity, style=COLOURS[verdict.severity]),
            f"{verdict.since:%m-%d %H:%M}" if verdict.since else "-",
            f"{verdict.rows:,}",
            lines.get(verdict.event_id, ""),
            verdict.summary,
        )
    return table


def details(verdict: Verdict, history: Sequence[HistoryRow], mark: Mark | None, report: str | None) -> RenderableType:
    """One verdict with everything that it rests on."""
    head = Text.assemble(
        (verdict.check, "bold"),
        f" over the {verdict.window} from {verdict.window_start:%Y-%m-%d %H:%M}, version {verdict.version or '-'}: ",
        (verdict.severity, COLOURS[verdict.severity]),
        f", {verdict.rows:,} rows",
    )
    lines: list[RenderableType] = [head, Text(verdict.summary)]
    if verdict.since is not None:
        lasts = format_duration(verdict.window_start - verdict.since) if verdict.window_start > verdict.since else "this window"
        lines.append(Text(f"since {verdict.since:%Y-%m-%d %H:%M} ({lasts})"))
    table = Table("subject", "verdict", "measured", "threshold", "chance", "windows", "rows", "course", "note")
    for finding in verdict.findings:
        table.add_row(
            finding.subject,
            Text(finding.severity, style=COLOURS[finding.severity]),
            *(_number(value) for value in (finding.value, finding.threshold, finding.noise)),
            finding.confirmed,
            f"{finding.rows:,}",
            sparkline(course(history, finding.subject, verdict.version)),
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
            Text(f"nothing wrong? dojo drift mark {verdict.model} {verdict.event_id} --false-alarm --why ...", style="dim")
        )
    return Group(*lines)


def course(history: Sequence[HistoryRow], subject: str, version: str) -> list[float]:
    """A subject's values over the latest windows, oldest first."""
    values = [row.values[subject].value for row in history if row.version == version and subject in row.values]
    return [value for value in values if value is not None][-LINE:]


def sparkline(values: Sequence[float]) -> str:
    """A line of block characters from 0 to the largest value, "" for fewer than two."""
    if len(values) < 2:
        return ""
    top = max(values)
    return "".join(_BARS[min(int(value / top * len(_BARS)), len(_BARS) - 1)] if top > 0 else _BARS[0] for value in values)


def worst_subject(findings: Sequence[Finding]) -> str:
    """The subject whose course is shown: the first trouble, or what is nearest to its threshold."""
    if not findings:
        return ""
    if findings[0].severity in TROUBLE:
        return findings[0].subject
    return max(findings, key=lambda f: (f.value or 0.0) / (f.threshold or 1.0)).subject


def proposals(model: str, found: Sequence[Proposal], marks: Collection[Mark]) -> RenderableType:
    if not found:
        return Text(
            f"{model}: nothing to change; {len(marks)} false alarms are marked, and quiet windows keep well below the thresholds"
        )
    table = Table(
        "proposal", "now", "proposed", "why", title=f"{model}: {len(marks)} false alarms marked", title_justify="left"
    )
    for one in found:
        table.add_row(one.setting, one.now, one.proposed, one.why)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
