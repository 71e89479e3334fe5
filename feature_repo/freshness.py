"""How fresh each view's online values are, for whoever has Redis: writers record, readers judge against the view's SLA.

    dojo:features:freshness    hash: view name -> world time (ISO 8601, UTC) up to which the online store is complete

The materializer writes it for batch views (the time the newest rows were published at), the streamer for streaming views (the latest
transaction it pushed, or the world's now when none was waiting). It never goes backwards within one world.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

from redis import Redis

from feature_repo.catalog import VIEWS, Kind

FRESHNESS_KEY = "dojo:features:freshness"

Verdict = Literal["ok", "stale", "insufficient_data"]

# One spelling of a time, so that comparing the texts compares the times.
_ADVANCE = """
local known = redis.call('hget', KEYS[1], ARGV[1])
if not known or known < ARGV[2] then redis.call('hset', KEYS[1], ARGV[1], ARGV[2]) end
"""


@dataclass(frozen=True, slots=True)
class ViewFreshness:
    """`age` and `sla` are world time; `as_of` and `age` are None when nothing was ever brought online."""

    view: str
    kind: Kind
    as_of: datetime | None
    age: timedelta | None
    sla: timedelta
    verdict: Verdict


def record_freshness(redis: Redis, view: str, as_of: datetime) -> None:
    """Note that `view` is complete online up to `as_of`, unless a later time is noted already."""
    redis.eval(_ADVANCE, 1, FRESHNESS_KEY, view, as_of.astimezone(UTC).isoformat(timespec="microseconds"))


def read_freshness(redis: Redis, now: datetime) -> list[ViewFreshness]:
    """Every view of the catalogue judged at world time `now`. A pause of the world makes nothing older."""
    stored = cast("dict[bytes, bytes]", redis.hgetall(FRESHNESS_KEY))
    return [judge_freshness(name, _parsed(stored.get(name.encode())), now) for name in VIEWS]


def judge_freshness(view: str, as_of: datetime | None, now: datetime) -> ViewFreshness:
    described = VIEWS[view]
    if as_of is None:
        return ViewFreshness(view, described.kind, None, None, described.freshness_sla, "insufficient_data")
    age = max(now - as_of, timedelta(0))
    verdict: Verdict = "ok" if age <= described.freshness_sla else "stale"
    return ViewFreshness(view, described.kind, as_of, age, described.freshness_sla, verdict)


def _parsed(text: bytes | None) -> datetime | None:
    return datetime.fromisoformat(text.decode()) if text else None
