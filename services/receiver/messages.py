"""Alerts as notices to people. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Literal

from dojo.core.state.inbox import RESOLVED, Notice, Urgency
from services.receiver.payload import Alert

Channel = Literal["chat", "pager"]

# The team of an alert without a team, so that every alert has a receiver.
PLATFORM = "ml-platform"

_URGENCY: dict[Channel, Urgency] = {"chat": "warning", "pager": "page"}

# Said elsewhere in the message, or of use to machines only.
_SILENT_LABELS = frozenset(
    {"alertname", "severity", "team", "area", "needs", "model", "job", "instance"}
)


def team_of(alert: Alert) -> str:
    return alert.labels.get("team", PLATFORM)


def subject_of(alert: Alert) -> str:
    return alert.labels.get("model") or alert.labels.get("job") or "platform"


def notice_of(alert: Alert, channel: Channel) -> Notice:
    """The notice of an alert, or of its end.

    The same alert of the same occasion always has the same id. So it is told once, even when
    several senders repeat it.
    """
    resolved = alert.status == "resolved"
    summary = alert.annotations.get("summary", alert.labels.get("alertname", "?"))
    return Notice(
        message_id=f"alert:{alert.fingerprint}:{alert.starts_at.isoformat()}:{alert.status}",
        urgency="info" if resolved else _URGENCY[channel],
        title=f"{RESOLVED}{summary}" if resolved else summary,
        text="\n".join(_lines(alert, resolved)),
    )


def _lines(alert: Alert, resolved: bool) -> list[str]:
    name, notes = alert.labels.get("alertname", "?"), alert.annotations
    lines = [] if resolved or not notes.get("description") else [notes["description"]]
    about = {key: value for key, value in sorted(alert.labels.items()) if key not in _SILENT_LABELS}
    marks = [alert.labels.get("severity", "no severity"), *(f"{k} {v}" for k, v in about.items())]
    lines.append(f"{name} ({', '.join(marks)})")
    if resolved:
        lasted = timedelta(seconds=round((alert.ends_at - alert.starts_at).total_seconds()))
        lines.append(
            f"It lasted {lasted} of wall time, from {alert.starts_at:%Y-%m-%d %H:%M:%S} UTC."
        )
    elif runbook := notes.get("runbook_url"):
        lines.append(_runbook(runbook))
    return lines


def _runbook(path: str) -> str:
    """The line that leads to a runbook. The command works without a checkout and in each mode."""
    return f"Runbook: dojo runbook {PurePosixPath(path).stem}"


def silence_notice(last: datetime, silent: timedelta) -> Notice:
    """The dead man's switch. `last` is the latest sign of life, or the receiver's start."""
    return Notice(
        message_id=f"watchdog:{last.isoformat()}:silent",
        urgency="page",
        title="the monitoring is silent: no alert would arrive",
        text=(
            f"No sign of life from Prometheus through Alertmanager for {silent.total_seconds():.0f}"
            f" s of wall time, since {last:%H:%M:%S} UTC. Whatever is wrong now, nobody is"
            f" told.\n{_runbook('monitoring/runbooks/Watchdog.md')}"
        ),
    )


def hidden_notice(silence_id: str, silence: str) -> Notice:
    """A silence hides the very alert about silences, so this notice goes past Alertmanager.

    Args:
        silence: Its conditions, author, end and comment in words.
    """
    return Notice(
        message_id=f"silence:{silence_id}:hidden",
        urgency="warning",
        title="a silence hides warnings, the one about silences too",
        text=f"{silence}\n{_runbook('monitoring/runbooks/AlertsSilenced.md')}",
    )


def recovery_notice(last: datetime, silent: timedelta) -> Notice:
    """The end of the silence that began at `last`."""
    return Notice(
        message_id=f"watchdog:{last.isoformat()}:back",
        urgency="info",
        title=f"{RESOLVED}the monitoring is back",
        text=(
            f"It was silent for {silent.total_seconds():.0f} s of wall time. What began and ended"
            f" meanwhile was told to nobody.\n{_runbook('monitoring/runbooks/Watchdog.md')}"
        ),
    )
