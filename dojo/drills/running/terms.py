"""What makes a drill harder than usual. None of it harms a caller."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from dojo.drills.faults.fault import Injection
from dojo.drills.faults.processes.killed_process import KilledProcess
from dojo.drills.faults.processes.paused_responder import PausedResponder
from dojo.drills.faults.processes.service_override import ServiceOverride
from dojo.drills.spec import DrillSpec


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a drill is played.

    Attributes:
        unpaged: The person is not paged. They find out by themselves.
        automation: False pauses the responder before the fault.
        noise: A service dies beside the fault, and its supervisor starts it again.
        decoy: A colleague deployed something harmless just before the fault.
        limit: The drill ends so long after the page, solved or not. Wall time.
    """

    unpaged: bool = False
    automation: bool = True
    noise: bool = False
    decoy: bool = False
    limit: timedelta | None = None


PLAIN = Terms()

# Services that no caller waits for. Each is back within seconds.
QUIET = ("responder", "rollout", "trainer")

# Component of the right answer -> the service beside it, where a deployment is suspicious. It is
# `rollout` for all others. A restart of the gateway would cost callers some answers.
BESIDE: Mapping[str, str] = {
    "online_store": "streamer",
    "store_client": "streamer",
    "streamer": "streamer",
    "materializer": "materializer",
    "lake": "recorder",
    "recorder": "recorder",
    "stray_process": "recorder",
    "world": "monitor",
    "labels_feed": "monitor",
    "alerting": "monitor",
    "alert_rule": "monitor",
    "registry": "trainer",
}


def before_harm(terms: Terms, spec: DrillSpec) -> list[Injection]:
    """Return what is done before the fault."""
    found: list[Injection] = []
    if not terms.automation:
        why = "change freeze until Monday"
        found.append(PausedResponder(kind="paused_responder", who="k.meyer", why=why))
    service = BESIDE.get(spec.answer.component, "rollout")
    taken = {fault.service for fault in spec.faults if isinstance(fault, ServiceOverride)}
    if terms.decoy and service not in taken:
        quiet = {"DOJO_LOG_LEVEL": "info"}  # as it is without it
        found.append(ServiceOverride(kind="service_override", service=service, environment=quiet))
    return found


def after_harm(terms: Terms) -> list[Injection]:
    """Return what is done once the fault acts."""
    if not terms.noise:
        return []
    return [KilledProcess(kind="killed_process", process=secrets.choice(QUIET))]
