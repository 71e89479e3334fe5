"""Messages to the owner and entries in the audit trail.

Each occasion has a name. A message repeated after a kill is sent only once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog

from dojo.core.spec.monitoring import Response
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import AuditTrail
from dojo.core.state.inbox import Notice, Notifier, Urgency
from services.responder.policy import LOOK_AT, remedy, urgency
from services.responder.state import Action, Incident
from services.responder.troubles import IncidentNotice

RESPONDER = "responder"

# Text about a remedy for the owner, before circumstances are known.
_INTENDED = {
    "notify": "Nothing is done about it automatically",
    "evaluate": (
        "The champion is evaluated on the freshest labelled requests, and retrained if it really"
        " lost"
    ),
    "retrain": "The model is retrained",
    "roll_back": "The version is rolled back if it brought this, otherwise the model is retrained",
}

_DOING = {
    "evaluate": "ordered an evaluation of the champion, version {version}",
    "retrain": "ordered a retraining",
    "roll_back": "rolls version {version} back to {to}",
    "abort_rollout": "asked the rollout of version {version} to abort",
}

_log = structlog.get_logger("responder")


class ResponseAnnouncements:
    """For all models. Raises redis.RedisError when Redis is out of reach. Repeat the call then."""

    def __init__(self, audit: AuditTrail, notifier: Notifier) -> None:
        self._audit, self._notifier = audit, notifier

    def tell(self, spec: ModelSpec, telling: IncidentNotice, now: datetime) -> None:
        """Announce the beginning, change or end of a trouble."""
        level, title, text = trouble_message(spec.name, telling, spec.response)
        self._send(spec, telling.occasion, level, title, text, now)

    def hold(
        self, spec: ModelSpec, trouble: Incident, kind: str, topic: str, held: str, now: datetime
    ) -> None:
        """Announce why a trouble gets no action. A critical trouble then pages a person."""
        level: Urgency = (
            "page"
            if trouble.severity == "critical" and topic in ("paused", "broken_data")
            else "info"
        )
        title = f"no action on {trouble.severity} {trouble.check}: {_first_words(held)}"
        text = (
            f"{trouble.worst.summary}\nWould be next: {kind.replace('_', ' ')}. Held back: {held}."
        )
        self._send(spec, f"{trouble.id}:held:{trouble.changes}:{topic}", level, title, text, now)

    def rehearse(self, spec: ModelSpec, action: Action, trouble: Incident, now: datetime) -> None:
        """Announce the intended action of a dry run."""
        what = f"dry run: would have {_past(action)}"
        self._write(
            spec,
            f"{trouble.id}:dry:{trouble.changes}:{action.kind}",
            what,
            action,
            {"dry_run": True},
            now,
        )
        self._send(
            spec, f"{trouble.id}:dry:{trouble.changes}:{action.kind}", "info", what, action.why, now
        )

    def began(self, spec: ModelSpec, action: Action, now: datetime) -> None:
        what = _DOING[action.kind].format(version=action.version, to=action.to)
        self._write(spec, f"{action.id}:began", what, action, {}, now)
        if action.kind != "evaluate":  # the trouble's message has already announced it
            evidence = (
                f"{action.why}\nDecided by {action.verdict}. Why and with what: dojo responder log;"
                " stop it: dojo responder pause"
            )
            self._send(
                spec, f"{action.id}:began", "warning", f"the responder {what}", evidence, now
            )

    def waits(self, spec: ModelSpec, action: Action, waits: str, now: datetime) -> None:
        """Nothing of an order runs; other actions go on meanwhile."""
        title = (
            "the ordered"
            f" {action.kind.replace('retrain', 'retraining').replace('evaluate', 'evaluation')}"
            " waits"
        )
        self._send(
            spec,
            f"{action.id}:waits:{now.isoformat()}",
            "warning",
            title,
            f"{waits}\nIt was ordered because: {action.why}",
            now,
        )

    def ended(
        self,
        spec: ModelSpec,
        action: Action,
        what: str,
        after: Mapping[str, Any],
        level: Urgency,
        text: str,
        now: datetime,
    ) -> None:
        self._write(spec, f"{action.id}:ended", what, action, after, now)
        self._send(
            spec,
            f"{action.id}:ended",
            level,
            what,
            f"{text}\nIt was done because: {action.why}",
            now,
        )

    def report(self, spec: ModelSpec, trouble: Incident, url: str, now: datetime) -> None:
        title = f"drift report on version {trouble.version}"
        self._send(
            spec,
            f"{trouble.id}:report",
            "info",
            title,
            f"{trouble.check} is {trouble.severity}. {url}",
            now,
        )

    def _write(
        self,
        spec: ModelSpec,
        entry: str,
        what: str,
        action: Action,
        after: Mapping[str, Any],
        now: datetime,
    ) -> None:
        written = self._audit.append(
            entry_id=f"responder:{entry}",
            kind="response",
            model=spec.name,
            who=RESPONDER,
            what=what,
            why=action.why,
            before={"verdict": action.verdict, "version": action.version, **action.evidence},
            after={
                "action": action.id,
                "kind": action.kind,
                **({"to": action.to} if action.to else {}),
                **after,
            },
            world_time=now,
        )
        if written is not None:
            _log.info(what, model=spec.name, action=action.id, why=action.why)

    def _send(
        self, spec: ModelSpec, occasion: str, level: Urgency, title: str, text: str, now: datetime
    ) -> None:
        notice = Notice(f"responder:{occasion}", level, f"{spec.name}: {title}", text)
        self._notifier.tell(spec.owner, spec.name, notice, now)


def trouble_message(
    model: str, telling: IncidentNotice, response: Response
) -> tuple[Urgency, str, str]:
    """Return the urgency, the title behind the model's name, and the text."""
    trouble = telling.trouble
    version, check = trouble.version, trouble.check
    match telling.news:
        case "ended":
            text = f"It began at {trouble.since:%Y-%m-%d %H:%M}. {trouble.worst.summary}"
            return "info", f"{check} of version {version} is over", text
        case "replaced":
            text = (
                f"It began at {trouble.since:%Y-%m-%d %H:%M} and was {trouble.severity} when the"
                " version lost its traffic."
            )
            return "info", f"{check} of version {version} went with the version", text
    severity = trouble.severity
    now = f"is {severity}" if telling.news == "began" else f"is {severity} now"
    found = "".join(f"\n  {finding}" for finding in trouble.worst.findings)
    intended = _INTENDED[remedy(check, severity, response)]
    text = (
        f"{trouble.worst.summary}{found}\nSince {trouble.since:%Y-%m-%d %H:%M} (world time)."
        f" {intended}.\nLook at: {LOOK_AT[check].format(model=model)}"
    )
    return urgency(check, severity), f"{check} of version {version} {now}", text


def _past(action: Action) -> str:
    return {
        "evaluate": f"ordered an evaluation of version {action.version}",
        "retrain": "ordered a retraining",
        "roll_back": f"rolled version {action.version} back to {action.to}",
        "abort_rollout": f"aborted the rollout of version {action.version}",
    }[action.kind]


def _first_words(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
