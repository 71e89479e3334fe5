"""What happened when: the injection, alerts, changes, commands and the person's own words.

Alerts and audit entries are kept in `<run>/around.json` when the drill ends. So the timeline stays
when the stack is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile
from pathlib import Path
from typing import Literal

import msgspec

from dojo.actions.desk import Desk
from dojo.cli.trace import TracedCommand
from dojo.core.state.audit import AuditTrail, Entry
from dojo.core.state.inbox import KEPT, Inbox, Message
from dojo.drills.record import DrillRun

AROUND_FILE = "around.json"

Source = Literal["drill", "alert", "change", "person"]

# Marks of a run that a reader wants, in words.
MARKS = {
    "injected": "the fault is injected",
    "witnessed": "harm is seen",
    "paged": "the page",
    "acked": "acknowledged",
    "mended": "the owner has ended it",
    "held": "the outcome has lasted",
    "replayed": "it survived the replay",
    "closed": "closed",
    "ended": "ended",
}

# Without a page, in the place of it.
HANDED_OVER = "you are on call"

MOST_ENTRIES = 1000


class Around(msgspec.Struct, kw_only=True):
    """What people were told and what was changed since the injection."""

    messages: list[Message] = []
    entries: list[Entry] = []


class TimelineEntry(msgspec.Struct, frozen=True):
    """One line. `at` is wall time."""

    at: datetime
    source: Source
    what: str


def keep_around(desk: Desk, run: DrillRun, directory: Path) -> None:
    """Write down alerts and changes since the injection. Raises redis.RedisError."""
    began = run.marks.get("injected")
    if began is None:
        return
    told = takewhile(lambda one: one.wall_time >= began, Inbox(desk.redis).newest(KEPT))
    newest = islice(AuditTrail(desk.redis).entries(newest_first=True), MOST_ENTRIES)
    changed = takewhile(lambda one: one.wall_time >= began, newest)
    around = Around(messages=list(told), entries=list(changed))
    (directory / AROUND_FILE).write_bytes(msgspec.json.encode(around))


def read_around(directory: Path) -> Around:
    """Return what was kept. Empty if nothing was."""
    try:
        return msgspec.json.decode((directory / AROUND_FILE).read_bytes(), type=Around)
    except FileNotFoundError:
        return Around()


def timeline(
    run: DrillRun, commands: Sequence[TracedCommand], around: Around, ended: datetime | None = None
) -> list[TimelineEntry]:
    """Return all moments, the oldest first. Pure.

    Args:
        ended: When the harm was over, by the samples.
    """
    marks = {**MARKS, "paged": HANDED_OVER} if not run.alert else MARKS
    found = [TimelineEntry(run.marks[name], "drill", said) for name, said in marks.items()
             if name in run.marks]  # fmt: skip
    if ended is not None:
        found.append(TimelineEntry(ended, "drill", "the harm is over"))
    found += [
        TimelineEntry(one.wall_time, "alert", f"{one.to}: {one.title}") for one in around.messages
    ]
    found += [
        TimelineEntry(one.wall_time, "change", f"{one.who}: {one.what}") for one in around.entries
    ]
    found += [TimelineEntry(one.at, "person", _called(one)) for one in commands if one.words]
    for thought in run.hypotheses:
        found.append(
            TimelineEntry(thought.at, "person", f"maybe {thought.mechanism}, by {thought.evidence}")
        )
        if thought.refuted is not None:
            said = f"not {thought.mechanism}, by {thought.against}"
            found.append(TimelineEntry(thought.refuted, "person", said))
    found += [
        TimelineEntry(one.at, "person", f"answer: {one.component}, {one.mechanism}, {one.trigger}")
        for one in run.diagnoses
    ]
    found += [
        TimelineEntry(
            one.at, "person", f"told {one.team}: {one.mechanism}, since {one.since:%m-%d %H:%M}"
        )
        for one in run.told
    ]
    found += [TimelineEntry(one.at, "person", one.text) for one in run.notes]
    return sorted(found, key=lambda one: one.at)


def after(moment: TimelineEntry, run: DrillRun) -> timedelta | None:
    """Return how long after the page a moment was, negative before it."""
    paged = run.marks.get("paged")
    return None if paged is None else moment.at - paged


def _called(command: TracedCommand) -> str:
    failed = f" (exit code {command.code})" if command.code else ""
    said = command.said if command.words[0] == "$" else f"dojo {command.said}"
    return said + failed
