"""Freshness of the catalogue's views: writers note how far a view reaches, readers judge every view against its SLA.

The materializer notes batch views (the time the newest rows were published at), the streamer streaming views (the latest
transaction it pushed, or the world's now when none was waiting).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from redis import Redis

from dojo.core.state import freshness
from feature_repo.catalog import VIEWS
from feature_repo.views import Kind


@dataclass(frozen=True, slots=True)
class JudgedView:
    """`age` and `sla` are world time; `as_of` and `age` are None when nothing was ever brought online."""

    view: str
    kind: Kind
    as_of: datetime | None
    age: timedelta | None
    sla: timedelta
    verdict: freshness.State


def record_freshness(redis: Redis, view: str, as_of: datetime) -> None:
    """Note that `view` is complete online up to `as_of`. Raises KeyError: not in the catalogue."""
    freshness.record_freshness(redis, view, as_of, VIEWS[view].freshness_sla)


def read_freshness(redis: Redis, now: datetime) -> list[JudgedView]:
    """Every view of the catalogue judged at world time `now`. A pause of the world makes nothing older."""
    noted = freshness.read_freshness(redis)
    return [judge_freshness(name, noted[name].as_of if name in noted else None, now) for name in VIEWS]


def judge_freshness(view: str, as_of: datetime | None, now: datetime) -> JudgedView:
    described = VIEWS[view]
    if as_of is None:
        return JudgedView(view, described.kind, None, None, described.freshness_sla, "insufficient_data")
    known = freshness.ViewFreshness(as_of, described.freshness_sla.total_seconds())
    return JudgedView(view, described.kind, as_of, known.age(now), described.freshness_sla, known.state(now))
