"""The newest batch score of an entity, in the online store.

    key      dojo:scores:<model>:<key>    a hash per key of the model's first entity
    field    batch
    value    MessagePack [version, event time, score, flagged]

The event time is the world time of the scored request, in microseconds since 1970. A newer request
wins. For the same request another version wins. A score has a time limit in world time, which the
reader checks. Redis deletes a forgotten one by wall time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple, cast

import msgspec
from redis import Redis

from feature_repo.online_layout import EPOCH, MalformedValueError
from feature_repo.online_rows import ROWS_AT_ONCE, WRITE_NEWER

FIELD = "batch"

# Shortest life of a written score, wall time. At demo speed two world days are 72 s. A world that
# is paused over a lunch must keep its scores.
SHORTEST_EXPIRY = timedelta(hours=1)


class _Packed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    version: int
    event_time: int
    score: float
    flagged: bool | None


class OnlineScore(NamedTuple):
    """One entity's newest batch score.

    Attributes:
        key: Key of the model's first entity.
        version: The version that scored.
        world_time: World time of the scored request.
        score: The score, in the unit of the model's task.
        flagged: True if the answer asks for an action. None where the task flags nothing.
    """

    key: str
    version: str
    world_time: datetime
    score: float
    flagged: bool | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


class OnlineScores:
    """Reads and writes the batch scores of one model. Raises redis.RedisError."""

    def __init__(self, redis: Redis, model: str) -> None:
        self._redis, self._model = redis, model
        self._write = redis.register_script(WRITE_NEWER)

    def write(self, scores: Iterable[OnlineScore], keep: timedelta, speed: float) -> int:
        """Write the scores that are newer than the stored ones.

        Args:
            scores: At most one per key.
            keep: World time for which a score counts.
            speed: World seconds per wall second. 0 is a paused world.

        Returns:
            The number of scores offered.
        """
        expiry, left, offered = expiry_seconds(keep, speed), iter(scores), 0
        while block := list(islice(left, ROWS_AT_ONCE)):
            packed = [
                _encode(
                    _Packed(
                        int(one.version),
                        (one.world_time - EPOCH) // timedelta(microseconds=1),
                        one.score,
                        one.flagged,
                    )
                )
                for one in block
            ]
            self._write(keys=[self._key(one.key) for one in block], args=[FIELD, *packed, expiry])
            offered += len(block)
        return offered

    def read(self, key: str, now: datetime, keep: timedelta) -> OnlineScore | None:
        """Return the score of an entity. None if none counts at `now`.

        Raises:
            MalformedValueError: The stored bytes are no score.
        """
        packed = cast("bytes | None", self._redis.hget(self._key(key), FIELD))
        if packed is None:
            return None
        try:
            found = _decode(packed)
        except msgspec.DecodeError as error:
            raise MalformedValueError(f"{self._key(key)}: {error}") from error
        at = (EPOCH + timedelta(microseconds=found.event_time)).astimezone(UTC)
        if now - at > keep:
            return None
        return OnlineScore(key, str(found.version), at, found.score, found.flagged)

    def _key(self, key: str) -> str:
        return f"dojo:scores:{self._model}:{key}"


def expiry_seconds(keep: timedelta, speed: float) -> int:
    """Return the wall seconds after which Redis deletes a score."""
    wall = keep / speed if speed > 0 else keep
    return int(max(wall, SHORTEST_EXPIRY).total_seconds())
