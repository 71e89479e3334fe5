"""Sliding windows in Redis: what each entity did in the time its streaming features look back on.

    dojo:window:<entity>:<key>      sorted set: `<event_id>|<cents>` scored by world time, microseconds
    dojo:window-revisions:<entity>  hash: key -> how often a late event changed the window since its latest transaction

A member is named after its event, so an event that is delivered twice is in the window once, and order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from redis import Redis

from dojo.core.events.types import Transaction
from feature_repo.catalog import Entity

# How far each entity's features look back.
LENGTHS: dict[Entity, timedelta] = {"customer": timedelta(hours=24), "merchant": timedelta(hours=1)}

# Wall time after which an untouched window is dropped. Any world that runs at all has then moved on by more than a window.
EXPIRE_SECONDS = 7 * 86400

# Transactions kept per window. Two hundred times a busy customer's day; it bounds a runaway key to about 250 kB.
MAX_MEMBERS = 5000

# KEYS: window, revisions. ARGV: key, length (us), expiry (s), members kept, then score and member per event.
# Returns the revision and the window with scores. A late event that is inside the window raises the revision; a later
# transaction than all known ones begins at revision 0.
_ADD = """
local latest = redis.call('zrevrange', KEYS[1], 0, 0, 'WITHSCORES')[2]
local length, late = tonumber(ARGV[2]), false
for i = 5, #ARGV, 2 do
  local score = tonumber(ARGV[i])
  if not latest or score > tonumber(latest) - length then
    if redis.call('zadd', KEYS[1], 'NX', ARGV[i], ARGV[i + 1]) == 1 then
      if not latest or score > tonumber(latest) then
        latest, late = ARGV[i], false
        redis.call('hdel', KEYS[2], ARGV[1])
      else
        late = true
      end
    end
  end
end
if late then redis.call('hincrby', KEYS[2], ARGV[1], 1) end
redis.call('zremrangebyscore', KEYS[1], '-inf', string.format('%.0f', tonumber(latest) - length))
redis.call('zremrangebyrank', KEYS[1], 0, -tonumber(ARGV[4]) - 1)
redis.call('expire', KEYS[1], ARGV[3])
return {redis.call('hget', KEYS[2], ARGV[1]) or '0', redis.call('zrange', KEYS[1], 0, -1, 'WITHSCORES')}
"""


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """One entity's recent transactions.

    Attributes:
        times: world times in microseconds since 1970, ascending; cents: the amounts, same order. Never empty.
        revision: late events that changed the window since its latest transaction came.
    """

    times: tuple[int, ...]
    cents: tuple[int, ...]
    revision: int


class RedisWindows:
    """The windows of every entity, on Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)

    def add(self, entity: Entity, transactions: Mapping[str, Sequence[Transaction]]) -> dict[str, SlidingWindow]:
        """Put transactions into their entities' windows, in one round trip.

        Args:
            transactions: entity key -> its transactions (at least one).

        Returns:
            Entity key -> its window afterwards.
        """
        length = int(LENGTHS[entity] / timedelta(microseconds=1))
        with self._redis.pipeline(transaction=False) as pipe:
            for key, events in transactions.items():
                members = (part for event in in_order(events) for part in (microseconds(event.world_time), _member(event)))
                self._add(
                    keys=[f"dojo:window:{entity}:{key}", f"dojo:window-revisions:{entity}"],
                    args=[key, length, EXPIRE_SECONDS, MAX_MEMBERS, *members],
                    client=pipe,
                )
            answers = cast("list[tuple[bytes, list[bytes]]]", pipe.execute())
        return {key: _window(*answer) for key, answer in zip(transactions, answers, strict=True)}


def in_order(events: Iterable[Transaction]) -> list[Transaction]:
    """By time: events that arrived out of order within one batch are not late."""
    return sorted(events, key=lambda event: (event.world_time, event.event_id))


def microseconds(moment: datetime) -> int:
    """Since 1970, exactly: a float of seconds would round."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _member(event: Transaction) -> str:
    return f"{event.event_id}|{round(event.amount * 100)}"


def _window(revision: bytes, flat: Sequence[bytes]) -> SlidingWindow:
    return SlidingWindow(
        times=tuple(int(float(score)) for score in flat[1::2]),
        cents=tuple(int(member.rpartition(b"|")[2]) for member in flat[0::2]),
        revision=int(revision),
    )


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
