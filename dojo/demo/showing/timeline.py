"""One story from the platform's own records: verdicts, alerts, responses, the gate, the rollout.

Pure, except for `read`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from redis import Redis
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from dojo.core.events.log import RedisEventLog
from dojo.core.events.streams import MalformedEventError, decode
from dojo.core.events.types import Stream, Verdict
from dojo.core.severity import ORDER, appearance_of
from dojo.core.state.audit import AuditTrail, Entry
from dojo.core.state.inbox import KEPT, Inbox, Message, is_from

# Decisions in the audit trail. Routes follow from rollouts, so they would repeat everything.
TOLD = frozenset({"gate", "rollout", "response", "retraining", "alias", "world"})

# Messages of Alertmanager. Other messages repeat the audit trail in words for the owners.
ALERTS = "alertmanager"

AS_ABOVE = "as above"

# Verdicts read per page of the event log.
PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of the story."""

    world_time: datetime
    who: str
    what: str
    why: str


def moments(
    verdicts: Iterable[Verdict],
    entries: Iterable[Entry],
    messages: Iterable[Message],
    model: str,
    since: datetime,
) -> list[Moment]:
    """The events of a model from `since` on, in order of world time."""
    told = [
        *(
            Moment(
                v.world_time,
                "monitor",
                f"{v.check} of version {v.version}: {v.severity}",
                v.summary,
            )
            for v in changes(v for v in verdicts if v.model == model)
        ),
        *(
            Moment(e.world_time, e.who, e.what, e.why)
            for e in entries
            if e.model == model and e.kind in TOLD and e.world_time
        ),
        *(
            Moment(m.world_time, "alert", m.title, "")
            for m in messages
            if is_from(m, ALERTS) and m.world_time
        ),
    ]
    return sorted(
        (moment for moment in told if moment.world_time >= since),
        key=lambda moment: moment.world_time,
    )


def changes(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts on one model that differ from the verdict before them of the same check.

    They are the begin and the end of its trouble. A new version may have brought the end. Without
    data nothing has changed.
    """
    latest: dict[tuple[str, str], str] = {}
    told = []
    for verdict in verdicts:
        if verdict.severity == "insufficient_data":
            continue
        subject = (verdict.check, verdict.window)
        if latest.get(subject, "ok") != verdict.severity:
            told.append(verdict)
        latest[subject] = verdict.severity
    return told


def read(redis: Redis, model: str, since: datetime) -> list[Moment]:
    """The moments in Redis. Raises redis.RedisError when Redis is out of reach."""
    entries = AuditTrail(redis).entries()
    return moments(_verdicts(redis), entries, reversed(Inbox(redis).newest(KEPT)), model, since)


def render(told: list[Moment], title: str) -> RenderableType:
    table = Table(title=title, title_justify="left")
    for heading in ("world time", "who", "what", "why"):
        table.add_column(heading, overflow="fold")
    for moment, why in zip(told, _reasons(told), strict=True):
        severity = moment.what.rpartition(": ")[2]
        style = appearance_of(severity).style if severity in ORDER else "default"
        what = f"[{style}]{escape(moment.what)}[/]"
        table.add_row(f"{moment.world_time:%m-%d %H:%M}", escape(moment.who), what, escape(why))
    return table


def _reasons(told: Iterable[Moment]) -> Iterator[str]:
    """Each moment's reason. What the same actor gave as its last reason is not repeated.

    One verdict has several actions, and their reasons begin with it.
    """
    given: dict[str, str] = {}
    for moment in told:
        last, why = given.get(moment.who, ""), moment.why
        if why:
            given[moment.who] = why
        if not (last and why):
            yield why
        elif _continues(last, why):
            yield AS_ABOVE
        elif _continues(why, last):
            yield f"{AS_ABOVE}; {why.removeprefix(last).lstrip(':; ')}"
        else:
            yield why


def _continues(longer: str, shorter: str) -> bool:
    """Return whether the longer reason begins with the shorter one, at the end of a word."""
    return longer.startswith(shorter) and not longer[len(shorter) :][:1].isalnum()


def _verdicts(redis: Redis) -> Iterable[Verdict]:
    log, after = RedisEventLog(redis, max_length=1), "0-0"  # only read here
    while page := log.tail(Stream.VERDICTS, after, PAGE):
        after = page[-1].message_id
        for delivery in page:
            try:
                yield cast("Verdict", decode(Stream.VERDICTS, delivery.payload))
            except MalformedEventError:
                continue  # the stream's consumers count it
