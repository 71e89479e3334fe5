"""From what windows measured to findings: beyond a threshold, beyond chance, and confirmed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dojo.core.severity import ORDER, Severity
from dojo.core.spec.monitoring import Confirmations
from dojo.core.tasks.measured import Distances, Measured


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One subject of a verdict.

    Attributes:
        subject: a feature, a view, a segment, a measure.
        value: what was measured; None without data. threshold: the one it is beyond, or the lowest when it is beyond none; its unit.
        noise: what chance alone reaches for these rows; None where no such level is known.
        confirmed: "3 of 4" windows, "" where one look decides.
        distances: Other measures of the same counts. None where the value is no distance.
    """

    subject: str
    severity: Severity
    value: float | None
    threshold: float | None
    rows: int
    noise: float | None = None
    confirmed: str = ""
    note: str = ""
    distances: Distances | None = None


# What one window measured: subject -> Measured.
Measurements = Mapping[str, Measured]


def worst(severities: Sequence[Severity]) -> Severity:
    """The highest; insufficient_data when there is none."""
    return max(severities, key=ORDER.index, default="insufficient_data")


def confirm(history: Sequence[Measurements], rule: Confirmations | None) -> tuple[Finding, ...]:
    """The newest window's findings, the worst first.

    Args:
        history: windows oldest first, the judged one last; those before it had data.
        rule: how many of the latest windows must agree; None where one look decides.
    """
    findings = [_finding(subject, history, rule) for subject in history[-1]]
    return tuple(sorted(findings, key=lambda f: (-ORDER.index(f.severity), -_excess(f))))


def _finding(subject: str, history: Sequence[Measurements], rule: Confirmations | None) -> Finding:
    now = history[-1][subject]
    severity, confirmed = now.severity, ""
    if rule is not None and now.value is not None:
        recent = [window[subject].severity for window in history[-rule.of :] if subject in window]
        # As bad as this window says, unless too few agree: then as bad as enough of them say.
        while severity not in ("ok", "insufficient_data"):
            agree = sum(ORDER.index(other) >= ORDER.index(severity) for other in recent)
            if agree >= rule.needed:
                confirmed = f"{agree} of {len(recent)}"
                break
            severity = ORDER[ORDER.index(severity) - 1]
        if severity == "ok" and now.severity != "ok":
            beyond = sum(ORDER.index(other) >= ORDER.index("warning") for other in recent)
            confirmed = f"{beyond} of {len(recent)}, needs {rule.needed} of {rule.of}"
    threshold = getattr(now.levels, severity) if severity in ("warning", "severe", "critical") else now.levels.warning
    return Finding(
        subject=subject,
        severity=severity,
        value=now.value,
        threshold=threshold,
        rows=now.rows,
        noise=now.noise,
        confirmed=confirmed,
        note=now.note,
        distances=now.distances,
    )


def _excess(finding: Finding) -> float:
    """How many times its threshold a value is."""
    return finding.value / finding.threshold if finding.value is not None and finding.threshold else 0.0


def pace(values: Sequence[float]) -> str:
    """Whether a value jumped or climbed: "sudden" when one step made most of its rise, "gradual" when many did, "" when it did not rise.

    Args:
        values: of windows, oldest first, the one with the finding last; at least three, or nothing can be said.
    """
    if len(values) < 3:
        return ""
    low = min(range(len(values)), key=lambda at: values[at])
    steps = [later - earlier for earlier, later in zip(values[low:], values[low + 1 :], strict=False)]
    rise = max(values[low:]) - values[low]
    if rise <= 0 or not steps:
        return ""
    return "sudden" if max(steps) >= SUDDEN_SHARE * rise else "gradual"


# One step that makes two thirds of the rise is a jump: a climb over three windows has steps of a third.
SUDDEN_SHARE = 2 / 3
