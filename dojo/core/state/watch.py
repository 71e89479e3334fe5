"""What Redis has lost: found by a copy of what must outlive it, on disk.

    <home>/responder/redis.json    the copy: documents, world time, the end of the audit trail
    dojo:loss                      what was missing, until a person answers it (`dojo restore`)

The responder looks before each of its decisions. It puts missing state back as it was last seen.
The audit entry is part of the same write. Until a person answers the loss, the platform decides
nothing. The responder begins no action, no rollout moves on, no schedule retrains.
A rollout is still judged, and still taken back.

Not in the copy: audit entries, a rollout's evidence, incidents, work orders, events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import msgspec
import structlog
from redis import Redis

from dojo.core.state.atomic import Check, Command
from dojo.core.state.audit import AuditTrail, Entry, TrailEnd
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock, wall_now
from dojo.core.state.documents import document_key
from dojo.core.state.inbox import Notice, Notifier
from dojo.core.state.loss import LOSS_FAMILY, NEXT_STEP, WHO, RedisLoss, loss_document, open_loss
from dojo.core.state.routes import InvalidRouteError, decode_route, route_key

# What people and processes have decided, in words. Values derived from events are derived again.
OF_THE_PLATFORM = {
    "dojo:responder:control": "the responder's kill switch and dry run",
    "dojo:world:drift": "the drift that people cause",
    LOSS_FAMILY: "the note of an earlier loss",
}
OF_A_MODEL = {
    "dojo:route:{model}": "the route of {model}",
    "dojo:rollout:{model}": "the rollout of {model}",
    "dojo:bandit:{model}": "the bandit of {model}",
    "dojo:spec:{model}": "the spec of {model} that took effect",
}

# The team that is told: all models are concerned.
TEAM = "ml-platform"

_log = structlog.get_logger("state")


class StateCopy(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis held.

    Attributes:
        documents: Key -> content.
        world: World time. None before the world has one.
        speed: World seconds per wall second.
        seen: Wall time.
    """

    documents: dict[str, bytes]
    world: datetime | None
    speed: float
    trail: TrailEnd
    seen: datetime


class StateWatch:
    """Compares Redis with the copy. One process has it.

    Args:
        path: Where the copy is.
        models: Whose documents are in it.
    """

    def __init__(self, redis: Redis, path: Path, models: Iterable[str]) -> None:
        self._redis, self._path = redis, path
        self._clock, self._audit = RedisWorldClock(redis, refresh=timedelta(0)), AuditTrail(redis)
        self._words = {document_key(family): words for family, words in OF_THE_PLATFORM.items()} | {
            document_key(family, model=model): words.format(model=model)
            for model in models
            for family, words in OF_A_MODEL.items()
        }
        self._routes = {route_key(model): model for model in models}
        self._known = _load(path)

    def look(self) -> RedisLoss | None:
        """Find and put back what is missing. Returns the loss that no person has answered.

        Raises:
            redis.RedisError, ConflictError, OSError: It is not known what Redis holds; look again.
        """
        found = self._read()
        if self._known is not None:
            gone = (key for key in self._known.documents if key not in found.documents)
            missing = [key for key in gone if not self._was_retired(key)]
            lost = [self._words.get(key, key) for key in missing] + self._further(
                self._known, found
            )
            if lost:
                self._answer(self._known, found, missing, lost)
                found = self._read()
        if found != self._known:
            _save(self._path, found)
            self._known = found
        loss = open_loss(self._redis)
        if loss is not None:
            world = self._clock.now() if self._clock.is_set() else None
            Notifier(self._redis, WHO).tell(TEAM, "platform", _notice(loss), world)
        return loss

    def _was_retired(self, key: str) -> bool:
        """Whether this is a route that was removed on purpose, by the trail's last word."""
        model = self._routes.get(key)
        told = self._audit.newest_champion(model) if model is not None else None
        return told is not None and not (told.after or {}).get("champion")

    def _read(self) -> StateCopy:
        keys = list(self._words)
        contents = cast("list[bytes | None]", self._redis.mget(keys))
        documents = {
            key: content for key, content in zip(keys, contents, strict=True) if content is not None
        }
        world = self._clock.now() if self._clock.is_set() else None
        speed = self._clock.speed() if world is not None else 0.0
        return StateCopy(
            documents=documents, world=world, speed=speed, trail=self._audit.end(), seen=wall_now()
        )

    def _further(self, known: StateCopy, found: StateCopy) -> list[str]:
        """What else is missing, in words."""
        lost = ["the clock"] if known.world is not None and found.world is None else []
        lost += [
            f"the latest change of {self._words[key]}"
            for key in sorted(self._routes.keys() & known.documents.keys() & found.documents.keys())
            if _generation(found.documents[key]) < _generation(known.documents[key])
        ]
        if not self._audit.holds(known.trail):
            gone = max(0, known.trail.entries - found.trail.entries)
            entries = f"{gone} of {known.trail.entries} audit entries, up to {known.trail.sequence}"
            lost.append(entries if gone else "the end of the audit trail")
        return lost

    def _answer(
        self, known: StateCopy, found: StateCopy, missing: Sequence[str], lost: Sequence[str]
    ) -> None:
        """Put back what can be, and write down what cannot."""
        self._audit.go_on_after(known.trail)
        if known.world is not None and found.world is None:
            self._set_clock(known.world, known.speed)
        entry_id = f"state:loss:{known.seen.isoformat()}"
        if self._audit.find(entry_id) is not None:
            return  # an earlier try wrote all of it, and was killed before its copy
        document = loss_document(self._redis)
        stored = document.read()
        earlier = stored.value or _decode_loss(known.documents.get(document.key))
        before = earlier.lost if earlier is not None and not earlier.answered_by else ()
        loss = RedisLoss(
            lost=(*before, *(one for one in lost if one not in before)),
            seen=known.seen,
            found=wall_now(),
            entry_id=entry_id,
        )
        put_back = [key for key in missing if key != document.key]
        checks: list[Check] = [(("GET", key), b"") for key in put_back]
        writes: list[Command] = [("SET", key, known.documents[key]) for key in put_back]
        entry = Entry(
            entry_id=entry_id,
            kind="world",
            model="platform",
            who=WHO,
            what=f"Redis has lost {', '.join(lost)}",
            why=(
                f"last seen at {known.seen:%Y-%m-%d %H:%M:%S} UTC (wall time); put back as it was"
                " then, except for audit entries"
            ),
            before={"trail": known.trail, "documents": sorted(known.documents)},
            after={"trail": found.trail, "put_back": put_back},
            world_time=self._clock.now() if self._clock.is_set() else None,
        )
        document.replace(stored.revision, loss, entry, checks, writes)
        _log.error(
            "Redis has lost state; it was put back",
            lost=list(lost),
            put_back=put_back,
            seen=known.seen.isoformat(),
        )

    def _set_clock(self, world: datetime, speed: float) -> None:
        """Let the world go on. What this process saw itself is newer than the copy."""
        with suppress(ClockNotSetError):
            world, speed = max(world, self._clock.now()), self._clock.speed()
        self._clock.set(world, speed)


def _notice(loss: RedisLoss) -> Notice:
    text = (
        f"{loss}. It was last seen at {loss.seen:%Y-%m-%d %H:%M:%S} UTC, and what can be put back"
        " is as it was then: dojo audit list says what. Gone for good: the audit entries named, a"
        " rollout's evidence, incidents, work orders, and events that no process had"
        " read.\nNothing is decided automatically until a person has looked: dojo routes list,"
        f" dojo rollout list, dojo models list, then {NEXT_STEP}"
    )
    return Notice(loss.entry_id, "page", "Redis has lost state", text)


def _generation(content: bytes) -> int:
    try:
        return decode_route(content).generation
    except (msgspec.MsgspecError, InvalidRouteError):
        return 0


def _decode_loss(content: bytes | None) -> RedisLoss | None:
    return msgspec.json.decode(content, type=RedisLoss) if content else None


def _load(path: Path) -> StateCopy | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=StateCopy)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        _log.error(
            "the copy of Redis' state cannot be read; it begins anew",
            path=str(path),
            reason=str(error),
        )
        return None


def _save(path: Path, copy: StateCopy) -> None:
    """Write the copy whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_suffix(".incoming")
    incoming.write_bytes(msgspec.json.encode(copy))
    incoming.replace(path)
