"""What people said about the monitor's verdicts.

    dojo:monitor:troubles:<model>    list, newest first: verdicts of warning and worse
    dojo:monitor:marks:<model>       hash: verdict's id -> Mark

The monitor writes the list.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, cast

import msgspec
from redis import Redis

from dojo.core.events.types import Verdict


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word on a verdict.

    Attributes:
        world_time: When it was marked.
    """

    verdict: Verdict
    kind: Literal["false_alarm"]
    who: str
    why: str
    world_time: datetime | None


class VerdictMarks:
    """Every method raises `redis.RedisError` when Redis is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def troubles(self, model: str) -> list[Verdict]:
        """Return the verdicts of warning and worse, newest first."""
        rows = cast("list[bytes]", self._redis.lrange(troubles_key(model), 0, -1))
        return [msgspec.json.decode(row, type=Verdict) for row in rows]

    def all(self, model: str) -> dict[str, Mark]:
        """Return the marks by their verdict's id."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_marks_key(model)))
        return {
            name.decode(): msgspec.json.decode(content, type=Mark) for name, content in rows.items()
        }

    def add(self, mark: Mark) -> None:
        """Write a mark. It replaces an earlier one on the same verdict."""
        self._redis.hset(
            _marks_key(mark.verdict.model),
            mapping={mark.verdict.event_id: msgspec.json.encode(mark)},
        )


def troubles_key(model: str) -> str:
    return f"dojo:monitor:troubles:{model}"


def _marks_key(model: str) -> str:
    return f"dojo:monitor:marks:{model}"
