"""From window measurements to findings: beyond a threshold, beyond chance, and confirmed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dojo.core.severity import ORDER, Severity
from dojo.core.spec.monitoring import Confirmations
from dojo.core.tasks.measured import Distances, Measured


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One subject of a verdict.

    Attributes:
        subject: A feature, a view, a segment or a measure.
        severity: Severity after confirmation.
        value: The measured value. None without data.
        threshold: The threshold of the severity, in the unit of `value`. The lowest threshold when
            the value is beyond none.
        rows: Rows behind the value.
        noise: Level reached by chance alone for these rows. None where no such level is known.
        confirmed: Agreeing windows, such as "3 of 4". Empty where one look decides.
        note: Explanation for people.
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


# The measurements of one window, subject -> Measured.
Measurements = Mapping[str, Measured]


def worst(severities: Sequence[Severity]) -> Severity:
    """Return the highest severity, or insufficient_data when there is none."""
    return max(severities, key=ORDER.index, default="insufficient_data")


def confirm(history: Sequence[Measurements], rule: Confirmations | None) -> tuple[Finding, ...]:
    """Return the newest window's findings, the worst first.

    Args:
        history: Windows, oldest first. The judged window is the last. Earlier windows had data.
        rule: Number of latest windows that must agree. None where one look decides.
    """
    findings = [_finding(subject, history, rule) for subject in history[-1]]
    return tuple(sorted(findings, key=lambda f: (-ORDER.index(f.severity), -_excess(f))))


def _finding(subject: str, history: Sequence[Measurements], rule: Confirmations | None) -> Finding:
    now = history[-1][subject]
    severity, confirmed = now.severity, ""
    if rule is not None and now.value is not None:
        recent = [window[subject].severity for window in history[-rule.of :] if subject in window]
        # The severity of this window holds if enough windows agree. Otherwise it falls to a
        # severity reached by enough windows.
        while severity not in ("ok", "insufficient_data"):
            agree = sum(ORDER.index(other) >= ORDER.index(severity) for other in recent)
            if agree >= rule.needed:
                confirmed = f"{agree} of {len(recent)}"
                break
            severity = ORDER[ORDER.index(severity) - 1]
        if severity == "ok" and now.severity != "ok":
            beyond = sum(ORDER.index(other) >= ORDER.index("warning") for other in recent)
            confirmed = f"{beyond} of {len(recent)}, needs {rule.needed} of {rule.of}"
    threshold = (
        getattr(now.levels, severity)
        if severity in ("warning", "severe", "critical")
        else now.levels.warning
    )
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
    """Return the value as a multiple of its threshold."""
    return (
        finding.value / finding.threshold
        if finding.value is not None and finding.threshold
        else 0.0
    )


def pace(values: Sequence[float]) -> str:
    """Return "sudden" for a jump, "gradual" for a climb, and "" when the value did not rise.

    A rise is sudden when one step makes most of it, and gradual when many steps make it.

    Args:
        values: Values of windows, oldest first, ending with the finding's window. Fewer than three
            values give "".
    """
    if len(values) < 3:
        return ""
    low = min(range(len(values)), key=lambda at: values[at])
    steps = [
        later - earlier for earlier, later in zip(values[low:], values[low + 1 :], strict=False)
    ]
    rise = max(values[low:]) - values[low]
    if rise <= 0 or not steps:
        return ""
    return "sudden" if max(steps) >= SUDDEN_SHARE * rise else "gradual"


# A step of two thirds of the rise is a jump. A climb over three windows has steps of a third.
SUDDEN_SHARE = 2 / 3
