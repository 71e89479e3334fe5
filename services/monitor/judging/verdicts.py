"""Findings as verdicts: a line for people, the start, and whether it is news. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from dojo.core.events.types import Check, Verdict
from dojo.core.judging.drift import Finding, worst
from dojo.core.state.clock import wall_now

VerdictWindow = Literal["hour", "day", "now"]

FINDINGS_KEPT = 20

TROUBLE = frozenset({"warning", "severe", "critical"})

# The note of a subject that was in trouble and has had no value since. It keeps the trouble open
# until the subject has a value again.
LOST = "in trouble when last seen"

# The name of a check's value for people.
_QUANTITY: dict[Check, str] = {
    "input_drift": "PSI",
    "prediction_drift": "PSI",
    "data_quality": "share",
    "flagged_rate": "ratio",
    "estimated_performance": "relative loss",
    "performance": "",
    "segments": "",
    "label_delay": "ratio",
    "labels_missing": "share of those due",
    "skew": "share of requests",
    "feature_freshness": "of its SLA",
    "model_freshness": "days",
}


def make_verdict(
    *,
    model: str,
    version: str,
    check: Check,
    window: VerdictWindow,
    start: datetime,
    now: datetime,
    findings: Sequence[Finding],
    rows: int,
    since: datetime | None,
    previous: Verdict | None,
    pace: str = "",
    without: str = "",
    essential: frozenset[str] = frozenset(),
) -> Verdict:
    """Return the verdict of one check.

    Args:
        findings: The worst first.
        since: The first window of the trouble, as far as the measured windows show.
        previous: The verdict of the same check over the window before. Its trouble continues, also
            through a window without data.
        pace: "sudden" or "gradual".
        without: Why there was nothing to judge.
        essential: Subjects of which at least one needs a value before the verdict is ok.
    """
    findings = _with_lost(findings, previous)
    severity = worst([finding.severity for finding in findings])
    unseen = _unseen(essential, findings) if severity == "ok" else ""
    if unseen:
        severity = "insufficient_data"
    # Trouble ends when a value shows its end. Missing values do not end it.
    begun = previous.since if previous is not None else None
    if severity in TROUBLE:
        begun = begun or since or start
    elif severity == "ok":
        begun = None
    return Verdict(
        event_id=Verdict.id_for(
            f"{model}-{version}-{check}-{window}-{start:%Y%m%dT%H%M}-{severity}"
        ),
        world_time=now,
        wall_time=wall_now(),
        model=model,
        version=version,
        check=check,
        window=window,
        window_start=start,
        severity=severity,
        rows=rows,
        summary=unseen or _summary(check, findings, rows, pace, without),
        findings=tuple(findings[:FINDINGS_KEPT]),
        since=begun,
    )


def _with_lost(findings: Sequence[Finding], previous: Verdict | None) -> list[Finding]:
    """Return the findings, with a mark on each subject that has no value since its trouble.

    The marked ones follow the troubled ones. If other subjects were measured, a missing one is no
    longer checked (a view that the model stopped reading). If nothing was measured, all are lost.
    """
    lost = (
        {f.subject: f for f in previous.findings if in_trouble(f)}
        if previous is not None and previous.since
        else {}
    )
    if not lost:
        return list(findings)
    now = (
        {f.subject: f for f in findings}
        if findings
        else {name: _unmeasured(f) for name, f in lost.items()}
    )
    marked = [
        (
            msgspec.structs.replace(f, note=f"{LOST}; {f.note}".removesuffix("; "))
            if f.value is None and name in lost
            else f
        )
        for name, f in now.items()
    ]
    return sorted(marked, key=lambda f: 0 if f.severity in TROUBLE else 1 if is_lost(f) else 2)


def is_lost(finding: Finding) -> bool:
    """Whether a subject has no value now and was in trouble when it last had one."""
    return finding.value is None and finding.note.startswith(LOST)


def in_trouble(finding: Finding) -> bool:
    """Whether a subject is in trouble as far as is known."""
    return finding.severity in TROUBLE or is_lost(finding)


def _unmeasured(finding: Finding) -> Finding:
    return Finding(
        subject=finding.subject, severity="insufficient_data", value=None, threshold=None, rows=0
    )


def _unseen(essential: frozenset[str], findings: Sequence[Finding]) -> str:
    """Return why findings without trouble are still not ok, "" when they are."""
    lost = [finding.subject for finding in findings if is_lost(finding)]
    if lost:
        return f"no value of what was in trouble: {', '.join(lost[:3])}" + (
            f", and {len(lost) - 3} more" if len(lost) > 3 else ""
        )
    if essential and not any(
        finding.value is not None for finding in findings if finding.subject in essential
    ):
        return next(
            (f.note for f in findings if f.subject in essential and f.note), "too few labels"
        )
    return ""


def is_news(verdict: Verdict, previous: Verdict | None) -> bool:
    """Whether the verdict goes to the event log. Trouble and every change of severity do."""
    return verdict.severity in TROUBLE or (
        previous is not None and previous.severity != verdict.severity
    )


def _summary(check: Check, findings: Sequence[Finding], rows: int, pace: str, without: str) -> str:
    troubled = [finding for finding in findings if finding.severity in TROUBLE]
    if troubled:
        first = troubled[0]
        text = f"{first.subject} {_QUANTITY[check]} {_number(first.value)}".replace("  ", " ")
        text += f" (threshold {_number(first.threshold)}"
        text += f", chance {_number(first.noise)})" if first.noise is not None else ")"
        text += f" in {first.confirmed} windows" if first.confirmed else ""
        text += f", and {len(troubled) - 1} more" if len(troubled) > 1 else ""
        text += f"; {first.note}" if check == "input_drift" and first.note else ""
        return f"{pace}: {text}" if pace else text
    judged = [finding for finding in findings if finding.severity == "ok"]
    if not judged:
        return without or f"too few rows: {rows:,}"
    waiting = [finding for finding in judged if finding.confirmed]
    if waiting:
        return (
            f"{waiting[0].subject} {_number(waiting[0].value)} is not confirmed"
            f" ({waiting[0].confirmed})"
        )
    top = max(judged, key=lambda finding: (finding.value or 0.0) / (finding.threshold or 1.0))
    if top.value is not None and top.threshold is not None and top.value >= top.threshold:
        return (
            f"within chance: {top.subject} {_number(top.value)} of {_number(top.threshold)}, chance"
            f" reaches {_number(top.noise)}"
        )
    return (
        f"nothing beyond its threshold; nearest {top.subject} {_number(top.value)} of"
        f" {_number(top.threshold)}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
