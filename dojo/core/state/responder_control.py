"""The kill switch and the dry run, in Redis. Both are audited, with who and why.

One document, `dojo:responder:control`. It changes in one write with its audit entry.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

import msgspec
from redis import Redis

from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import Entry
from dojo.core.state.clock import wall_now
from dojo.core.state.documents import Document

EVERY_MODEL = "*"


class Switched(msgspec.Struct, frozen=True, kw_only=True):
    """Who switched something, why, and when (wall time)."""

    who: str
    why: str
    wall_time: datetime


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The state of both switches.

    Attributes:
        paused: Pauses by model, or by `*` for all.
        dry_run: None while the responder acts.
    """

    paused: dict[str, Switched] = {}
    dry_run: Switched | None = None

    def pause_of(self, model: str) -> Switched | None:
        return self.paused.get(EVERY_MODEL) or self.paused.get(model)


def read_control(redis: Redis) -> Control:
    """Raises redis.RedisError."""
    return _document(redis).get() or Control()


def switch_pause(
    redis: Redis, model: str, on: bool, who: str, why: str, world_time: datetime | None
) -> bool:
    """Pause or resume actions. Returns False when that was so already.

    Args:
            model: A model's name, or EVERY_MODEL. Resuming every model also resumes models that
                were paused one by one.

    Raises:
        redis.RedisError
    """

    def change(control: Control) -> Control:
        paused = dict(control.paused)
        if on:
            paused.setdefault(model, Switched(who=who, why=why, wall_time=wall_now()))
        elif model == EVERY_MODEL:
            paused.clear()
        else:
            paused.pop(model, None)
        return msgspec.structs.replace(control, paused=paused)

    what = (
        "responder"
        f" {'paused' if on else 'resumed'}{'' if model == EVERY_MODEL else f' for {model}'}"
    )
    return _switch(redis, change, model, who, what, why, world_time)


def switch_dry_run(redis: Redis, on: bool, who: str, why: str, world_time: datetime | None) -> bool:
    """Only say what would be done, or act again. Returns False when that was so already."""

    def change(control: Control) -> Control:
        switched = control.dry_run or Switched(who=who, why=why, wall_time=wall_now())
        return msgspec.structs.replace(control, dry_run=switched if on else None)

    return _switch(
        redis,
        change,
        EVERY_MODEL,
        who,
        f"responder's dry run {'on' if on else 'off'}",
        why,
        world_time,
    )


def _switch(
    redis: Redis,
    change: Callable[[Control], Control],
    model: str,
    who: str,
    what: str,
    why: str,
    world_time: datetime | None,
) -> bool:
    document = _document(redis)
    while True:
        found = document.read()
        before = found.value or Control()
        after = change(before)
        if after == before:
            return False
        entry = Entry(
            entry_id=f"responder:control:{uuid4().hex[:12]}",
            kind="response",
            model=model,
            who=who,
            what=what,
            why=why,
            before=before,
            after=after,
            world_time=world_time,
        )
        with suppress(ConflictError):
            document.replace(found.revision, after, entry)
            return True


def _document(redis: Redis) -> Document[Control]:
    return Document(redis, "dojo:responder:control", Control)
