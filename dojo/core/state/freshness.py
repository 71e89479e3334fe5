"""The record of how fresh each feature view is (D18).

It holds the world time up to which the view's online values are complete, and its SLA.

    dojo:features:freshness    hash: view name -> {"as_of": world time, "sla_seconds": number}

Every writer of a view's values records it (feature_repo/freshness.py). The gateway, `dojo status`,
the catalogue and the demo read it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, cast

import msgspec
from redis import Redis

from dojo.core.state.atomic import Check, write_if

FRESHNESS_KEY = "dojo:features:freshness"

State = Literal["ok", "stale", "insufficient_data"]


class ViewFreshness(msgspec.Struct, frozen=True):
    """How complete a view's online values are.

    Attributes:
        as_of: World time up to which the values are complete.
        sla_seconds: Age beyond which the view is stale, world seconds.
    """

    as_of: datetime
    sla_seconds: float

    def age(self, now: datetime) -> timedelta:
        """World time. Never negative, also when the world was set back."""
        return max(now - self.as_of, timedelta(0))

    def state(self, now: datetime) -> State:
        return "ok" if self.age(now).total_seconds() <= self.sla_seconds else "stale"


def record_freshness(redis: Redis, view: str, as_of: datetime, sla: timedelta) -> None:
    """Note that a view is complete up to `as_of`, unless a later time is noted already.

    `as_of` is a timezone-aware world time.
    """
    content = msgspec.json.encode(ViewFreshness(as_of.astimezone(UTC), sla.total_seconds()))
    while True:
        noted = cast("bytes | None", redis.hget(FRESHNESS_KEY, view))
        if noted is not None and msgspec.json.decode(noted, type=ViewFreshness).as_of >= as_of:
            return
        unchanged: Check = (("HGET", FRESHNESS_KEY, view), noted or b"")
        if write_if(redis, [unchanged], [("HSET", FRESHNESS_KEY, view, content)]) is None:
            return


def read_freshness(redis: Redis) -> dict[str, ViewFreshness]:
    """What was recorded, by view. A missing view was never written (insufficient_data)."""
    rows = cast("dict[bytes, bytes]", redis.hgetall(FRESHNESS_KEY))
    return {
        view.decode(): msgspec.json.decode(value, type=ViewFreshness)
        for view, value in rows.items()
    }
