"""Incidents: troubles that people were told of, with who has them.

An alert's messages carry one occasion, from the first to "resolved". The occasion is the incident.
Who acknowledged it, and whom it was given to, stands in one document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

import msgspec
from redis import Redis

from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import Entry
from dojo.core.state.clock import wall_now
from dojo.core.state.documents import Document
from dojo.core.state.inbox import Message, is_resolved

# Characters of an id. Ten thousand incidents share none of so many, but for one chance in 30,000.
ID_LENGTH = 10

# The document keeps so many handled incidents, the newest ones.
KEPT_HANDLED = 500


class Handled(msgspec.Struct, frozen=True, kw_only=True):
    """What people did about an incident. Wall times.

    Attributes:
        acknowledged: When it was first acknowledged. None before.
        by: Who acknowledged it.
        assigned: The person or team that has it now. "" for the receiving team.
        changed: The latest change.
    """

    acknowledged: datetime | None = None
    by: str = ""
    assigned: str = ""
    changed: datetime


class TeamIncident(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble. Wall times.

    Attributes:
        id: Its short name.
        title: The first message's title.
        to: The receiving team.
        model: The model or part of the platform.
        urgency: Of the first message.
        told: When people were first told.
        resolved: When they were told of the end. None while it goes on.
        handled: What people did about it. None for nothing.
    """

    id: str
    title: str
    to: str
    model: str
    urgency: str
    told: datetime
    resolved: datetime | None
    handled: Handled | None


def occasion_of(message: Message) -> str:
    """Return what an alert's messages have in common. "" for other messages."""
    source, _, rest = message.message_id.partition(":")
    return rest.rpartition(":")[0] if source == "alert" else ""


def id_of(occasion: str) -> str:
    """Return the incident's id."""
    return hashlib.sha256(occasion.encode()).hexdigest()[:ID_LENGTH]


def incidents(messages: Iterable[Message], handled: Mapping[str, Handled]) -> list[TeamIncident]:
    """Return the incidents among messages, the oldest first. Pure.

    An end whose beginning is not among the messages is left out.
    """
    found: dict[str, TeamIncident] = {}
    for message in sorted(messages, key=lambda one: one.wall_time):
        if not (occasion := occasion_of(message)):
            continue
        known = found.get(occasion)
        if known is None and not is_resolved(message):
            name = id_of(occasion)
            found[occasion] = TeamIncident(
                id=name, title=message.title, to=message.to, model=message.model,
                urgency=message.urgency, told=message.wall_time, resolved=None,
                handled=handled.get(name),
            )  # fmt: skip
        elif known is not None and is_resolved(message) and known.resolved is None:
            found[occasion] = msgspec.structs.replace(known, resolved=message.wall_time)
    return list(found.values())


class IncidentBook:
    """Who has which incident. Raises redis.RedisError when it is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._document = Document(redis, "dojo:incidents", dict[str, Handled])

    def handled(self) -> dict[str, Handled]:
        """Return what was done, by the incident's id."""
        return self._document.get() or {}

    def acknowledge(self, incident: TeamIncident, who: str, world_time: datetime | None) -> bool:
        """Write down that a person has an incident. False if another had it before."""

        def change(known: Handled) -> Handled:
            if known.acknowledged is not None:
                return known
            return msgspec.structs.replace(known, acknowledged=wall_now(), by=who)

        return self._change(incident, change, "acknowledged", who, incident.title, world_time)

    def assign(
        self, incident: TeamIncident, to: str, who: str, why: str, world_time: datetime | None
    ) -> bool:
        """Give an incident to a person or team. False if they have it already."""

        def change(known: Handled) -> Handled:
            return msgspec.structs.replace(known, assigned=to)

        return self._change(incident, change, f"given to {to}", who, why, world_time)

    def _change(
        self,
        incident: TeamIncident,
        change: Callable[[Handled], Handled],
        what: str,
        who: str,
        why: str,
        world_time: datetime | None,
    ) -> bool:
        """Change what is known of an incident, with an entry in the audit trail."""
        while True:
            found = self._document.read()
            known = found.value or {}
            before = known.get(incident.id)
            now = wall_now()
            after = change(before or Handled(changed=now))
            if after == before:
                return False
            after = msgspec.structs.replace(after, changed=now)
            entry = Entry(
                entry_id=f"incident:{uuid4().hex[:12]}", kind="incident", model=incident.model,
                who=who, what=f"incident {incident.id} was {what}", why=why, before=before,
                after=after, world_time=world_time,
            )  # fmt: skip
            kept = sorted({**known, incident.id: after}.items(), key=lambda one: one[1].changed)
            with suppress(ConflictError):
                self._document.replace(found.revision, dict(kept[-KEPT_HANDLED:]), entry)
                return True
