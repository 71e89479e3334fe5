"""Freshness of feature views: how far in world time their newest data reaches, and how old it may get (D18).

Whoever writes a view's values records it; the gateway, `dojo status`, the catalogue and the demo read it. One Redis hash:
view -> {"as_of": world time, "sla_seconds": number}.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, cast

import msgspec
from redis import Redis

FRESHNESS_KEY = "dojo:features:freshness"

State = Literal["ok", "stale", "insufficient_data"]


class ViewFreshness(msgspec.Struct, frozen=True):
    """`as_of`: the world time up to which the view's values are complete. `sla_seconds`: the age beyond which it is stale."""

    as_of: datetime
    sla_seconds: float

    def age(self, now: datetime) -> timedelta:
        return now - self.as_of

    def state(self, now: datetime) -> State:
        return "ok" if self.age(now).total_seconds() <= self.sla_seconds else "stale"


def record_freshness(redis: Redis, view: str, as_of: datetime, sla: timedelta) -> None:
    """Say that a view is complete up to `as_of` (timezone-aware world time)."""
    redis.hset(FRESHNESS_KEY, view, msgspec.json.encode(ViewFreshness(as_of, sla.total_seconds())).decode())


def read_freshness(redis: Redis) -> dict[str, ViewFreshness]:
    """What was recorded, by view; a view that is missing was never written (insufficient_data)."""
    rows = cast("dict[bytes, bytes]", redis.hgetall(FRESHNESS_KEY))
    return {view.decode(): msgspec.json.decode(value, type=ViewFreshness) for view, value in rows.items()}
