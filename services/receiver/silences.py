"""Silences that hide too much. Alertmanager is asked, as a hidden alert cannot tell."""

from __future__ import annotations

import math
import re
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from services.receiver.metrics import ReceiverMetrics

# A maintenance ends within it. For a longer quiet, a rule has to be changed.
LONGEST = timedelta(days=1)

TIMEOUT_SECONDS = 1.0  # rounds also watch the watchdog

REASONS = ("critical", "old")

# Labels of the alert about silences (monitoring/prometheus/rules/monitoring.yml). The label
# `reason` is added.
OWN_ALERT = {
    "alertname": "AlertsSilenced",
    "severity": "warning",
    "team": "ml-platform",
    "area": "monitoring",
}


class Matcher(msgspec.Struct, frozen=True, rename="camel"):
    """A condition on one label, as Alertmanager's API has it."""

    name: str
    value: str
    is_regex: bool
    is_equal: bool = True

    def holds(self, label: str) -> bool:
        if not self.is_regex:
            return (self.value == label) is self.is_equal
        try:
            return (re.fullmatch(self.value, label) is not None) is self.is_equal
        except re.error:
            return True  # only Go understands the pattern, so it is suspected


class SilenceStatus(msgspec.Struct, frozen=True):
    """The state of a silence: `active`, `pending` or `expired`."""

    state: str


class Silence(msgspec.Struct, frozen=True, rename="camel"):
    """A silence of Alertmanager. Times are wall time."""

    id: str
    status: SilenceStatus
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str

    def hides(self, labels: Mapping[str, str]) -> bool:
        """Whether the silence hides the alert with exactly these labels."""
        return all(matcher.holds(labels.get(matcher.name, "")) for matcher in self.matchers)

    @property
    def hides_its_own_alert(self) -> bool:
        return any(self.hides({**OWN_ALERT, "reason": reason}) for reason in REASONS)

    @property
    def may_hide_a_critical_one(self) -> bool:
        """Whether its conditions on the severity, if there are any, hold for a critical alert."""
        return all(
            matcher.holds("critical") for matcher in self.matchers if matcher.name == "severity"
        )

    def __str__(self) -> str:
        signs = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
        conditions = ", ".join(
            f'{m.name}{signs[m.is_regex, m.is_equal]}"{m.value}"' for m in self.matchers
        )
        return (
            f"{self.id} {{{conditions}}} by {self.created_by} until {self.ends_at:%Y-%m-%d %H:%M}"
            f" UTC: {self.comment}"
        )


class Silences:
    """The active silences of one Alertmanager.

    Args:
        url: Where it answers.
    """

    def __init__(self, url: str, metrics: ReceiverMetrics) -> None:
        self._url, self._metrics = url, metrics

    def look(self, now: datetime) -> Sequence[Silence] | None:
        """Ask for the active silences, and export their faults.

        None while Alertmanager does not answer.
        """
        try:
            with urllib.request.urlopen(
                f"{self._url}/api/v2/silences", timeout=TIMEOUT_SECONDS
            ) as answer:
                found = msgspec.json.decode(answer.read(), type=tuple[Silence, ...])
        except (OSError, msgspec.MsgspecError):
            for reason in REASONS:
                self._metrics.silences.labels(reason).set(math.nan)
            return None
        active = [silence for silence in found if silence.status.state == "active"]
        self._metrics.silences.labels("critical").set(
            sum(silence.may_hide_a_critical_one for silence in active)
        )
        self._metrics.silences.labels("old").set(
            sum(now - silence.starts_at > LONGEST for silence in active)
        )
        return active
