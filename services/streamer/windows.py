"""Sliding windows in Redis: each entity's events in the reach of its streaming features.

    dojo:window:<view>:<key>      sorted set, scored by world time in microseconds:
                                  `<event_id>|<value in whole units>`
    dojo:window-revisions:<view>  hash: key -> late changes of the window since its latest event

A late change is a late event that changed the window. A member is named after its event. So an
event that is delivered twice is in the window once, and the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from redis import Redis

from dojo.core.events.types import Event
from feature_repo.views import StreamingView

# Wall time after which an untouched window is dropped. A running world has then moved on by more
# than a window.
EXPIRE_SECONDS = 7 * 86400

# Events kept per window, two hundred times a busy customer's day. It bounds a runaway key to about
# 250 kB.
MAX_MEMBERS = 5000

# KEYS: window, revisions. ARGV: key, length (us), expiry (s), members kept, then score and member
# per event. It returns the revision and the window with scores. A late event that is inside the
# window raises the revision. An event later than all known ones begins at revision 0.
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
return {redis.call('hget', KEYS[2], ARGV[1]) or '0', \
redis.call('zrange', KEYS[1], 0, -1, 'WITHSCORES')}
"""


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """One entity's recent events.

    Attributes:
        times: World times in microseconds since 1970, ascending, at least one.
        values: Values in whole units, in the same order.
        revision: Late events that changed the window since its latest event came.
    """

    times: tuple[int, ...]
    values: tuple[int, ...]
    revision: int

    @property
    def online_timestamp(self) -> datetime:
        """The row's `event_timestamp` in the online store.

        The online store skips a row whose timestamp is not later than the stored one. This keeps an
        old materialisation from overwriting a newer push. It would also drop the push after a late
        event, which changes a window and not its latest time. So the timestamp is:

        - Without late events T, the time of the latest event. A materialised row (T + 1
          microsecond, from the lake) wins over it. That heals windows that began with a part of
          their events, which are the first ones after history was replayed.
        - After late events T + 1 microsecond, and one microsecond more for each of them. This is
          newer than the push before and than the materialised row.
        """
        late = timedelta(microseconds=self.revision + 1) if self.revision else timedelta(0)
        return _EPOCH + timedelta(microseconds=self.times[-1]) + late


class RedisWindows:
    """The windows of every view and entity, on Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)

    def add(
        self, view: StreamingView, by_key: Mapping[str, Sequence[Event]]
    ) -> dict[str, SlidingWindow]:
        """Put events into their entities' windows, in one round trip.

        Args:
            by_key: Entity key -> its events (at least one).

        Returns:
            Entity key -> its window afterwards.
        """
        length = view.reach // timedelta(microseconds=1)
        with self._redis.pipeline(transaction=False) as pipe:
            for key, events in by_key.items():
                members = (
                    part
                    for event in in_order(events)
                    for part in (microseconds(event.world_time), _member(view, event))
                )
                self._add(
                    keys=[f"dojo:window:{view.name}:{key}", f"dojo:window-revisions:{view.name}"],
                    args=[key, length, EXPIRE_SECONDS, MAX_MEMBERS, *members],
                    client=pipe,
                )
            answers = cast("list[tuple[bytes, list[bytes]]]", pipe.execute())
        return {key: _window(*answer) for key, answer in zip(by_key, answers, strict=True)}


def in_order(events: Iterable[Event]) -> list[Event]:
    """Sort events by time, because events out of order within one batch are not late."""
    return sorted(events, key=lambda event: (event.world_time, event.event_id))


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exactly. A float of seconds would round."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _member(view: StreamingView, event: Event) -> str:
    whole = round(getattr(event, view.value) * view.scale) if view.value else 0
    return f"{event.event_id}|{whole}"


def _window(revision: bytes, flat: Sequence[bytes]) -> SlidingWindow:
    return SlidingWindow(
        times=tuple(int(float(score)) for score in flat[1::2]),
        values=tuple(int(member.rpartition(b"|")[2]) for member in flat[0::2]),
        revision=int(revision),
    )


_EPOCH = datetime.fromtimestamp(0, UTC)
