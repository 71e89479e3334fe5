"""A world's identity and position, kept where restarts find them.

`<home>/world.json` says which world the lake belongs to. It is written before the first row, so
that a lake is never of unknown origin. The cursor in Redis says how far the world has been lived.
It also names the world, because a Redis may serve another. The promise says how far the batch under
way reaches. Drift that is started meanwhile acts behind it (dojo/shop/world_drift.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
from redis import Redis

from dojo.core.state.documents import Document
from services.simulator.sources.span import Span

CURSOR_KEY = "dojo:world:cursor"
PROMISE_KEY = "dojo:world:promise"
WORLD_FILE = "world.json"


class WorldLostError(RuntimeError):
    """Redis has lost the position of the world. The last emitted events may be lost too."""

    def __init__(self) -> None:
        super().__init__(
            "Redis has lost the world's position: the world goes on where the lake's records end"
        )


class OtherWorldError(RuntimeError):
    """The lake or Redis belongs to another world than the settings ask for."""


class World(msgspec.Struct, frozen=True):
    """What decides everything that happens.

    It is the source's identity, each model's labels and their delay, and the bounds of history.
    """

    source: dict[str, Any]
    labels: dict[str, Any]
    history_start: date
    history_end: date

    @property
    def span(self) -> Span:
        return Span(self.history_start, self.history_end)

    def fingerprint(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]


class Cursor(msgspec.Struct, frozen=True):
    """Everything that happens in the world before `until` has been emitted.

    This covers transactions and outcomes.
    """

    until: datetime
    world: str


def load_world(home: Path) -> World | None:
    """The world that `home` belongs to, or None.

    Raises OtherWorldError when the file is not one of ours.
    """
    try:
        return msgspec.json.decode((home / WORLD_FILE).read_bytes(), type=World)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise OtherWorldError(f"{home / WORLD_FILE}: cannot be understood: {error}") from error


def save_world(home: Path, world: World) -> None:
    """Write `world.json`, whole or not at all."""
    home.mkdir(parents=True, exist_ok=True)
    temporary = home / f".{WORLD_FILE}.{os.getpid()}.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(world), indent=2))
    temporary.replace(home / WORLD_FILE)


def new_world_refusal(faults: Mapping[str, str]) -> str:
    """Return why a new world does not begin. It keeps its models' labels for good.

    Args:
        faults: Model -> what is wrong with its spec.
    """
    return (
        "\n".join(faults.values())
        + "\na new world does not begin while a spec is wrong, because it keeps the models that it"
        " begins with: correct the file, or leave the model out of DOJO_MODELS"
    )


def differences(existing: World, wanted: World) -> list[str]:
    """The differences of two worlds, as `name is X, wanted Y`."""
    found: dict[str, Any] = existing.source | existing.labels | {"history": _span_text(existing)}
    asked: dict[str, Any] = wanted.source | wanted.labels | {"history": _span_text(wanted)}
    return [
        f"{name} is {found.get(name, 'absent')}, wanted {asked.get(name, 'absent')}"
        for name in dict.fromkeys([*found, *asked])
        if found.get(name) != asked.get(name)
    ]


def _span_text(world: World) -> str:
    return f"{world.history_start} to {world.history_end}"


class RedisCursor:
    """The cursor in Redis. Every method raises `redis.RedisError` when Redis is out of reach."""

    def __init__(self, redis: Redis, world: World, before: World | None = None) -> None:
        """Open the cursor of a world. `before` is the same one without its joining models."""
        self._cursor = Document(redis, CURSOR_KEY, Cursor)
        self._promise = Document(redis, PROMISE_KEY, Cursor)
        self._world = world.fingerprint()
        self._known = {self._world} | ({before.fingerprint()} if before else set())

    def load(self) -> datetime | None:
        """Where the world was left, or None in a Redis that has not seen this world.

        Raises:
            OtherWorldError: Redis carries another world.
        """
        cursor = self._cursor.get()
        if cursor is None:
            return None
        if cursor.world not in self._known:
            raise OtherWorldError(
                f"this Redis carries another world ({cursor.world}, lived until"
                f" {cursor.until:%Y-%m-%d %H:%M}) than the one in this home ({self._world}): give"
                " each home a Redis of its own (DOJO_REDIS_URL)"
            )
        return cursor.until

    def save(self, until: datetime) -> None:
        self._cursor.put(Cursor(until, self._world))

    def move(self, until: datetime) -> None:
        """Save a later position. Raises WorldLostError when Redis has lost the earlier one."""
        if not self._cursor.put_again(Cursor(until, self._world)):
            raise WorldLostError

    def promise(self, until: datetime) -> None:
        """Announce that everything before `until` is about to be emitted.

        From now on nothing may change it, also in a repetition.
        """
        self._promise.put(Cursor(until, self._world))

    def lived(self, position: datetime) -> datetime:
        """Up to where the world may have been seen, when it goes on from `position`.

        A crash may have cut off a batch.
        """
        promise = self._promise.get()
        if promise is None or promise.world not in self._known:
            return position
        return max(position, promise.until)
