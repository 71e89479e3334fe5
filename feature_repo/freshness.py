"""Freshness of the catalogue's views.

Writers note how far a view reaches, and readers judge every view against its SLA. The materializer
notes batch views with the publication time of the newest rows. The streamer notes streaming views
with the latest pushed transaction, or with the world's now when none was waiting.
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
    """A view's freshness against its SLA.

    Attributes:
        view: Name of the view.
        kind: Kind of the view.
        as_of: World time up to which it is complete. None when no values were ever brought online.
        age: Age in world time. None when no values were ever brought online.
        sla: Largest allowed age, world time.
        verdict: The judgement.
    """

    view: str
    kind: Kind
    as_of: datetime | None
    age: timedelta | None
    sla: timedelta
    verdict: freshness.State


def record_freshness(redis: Redis, view: str, as_of: datetime) -> None:
    """Note that `view` is complete online up to `as_of`.

    Raises:
        KeyError: The view is not in the catalogue.
    """
    freshness.record_freshness(redis, view, as_of, VIEWS[view].freshness_sla)


def read_freshness(redis: Redis, now: datetime) -> list[JudgedView]:
    """Return every view of the catalogue, judged at world time `now`.

    A pause of the world makes no view older.
    """
    noted = freshness.read_freshness(redis)
    return [
        judge_freshness(name, noted[name].as_of if name in noted else None, now) for name in VIEWS
    ]


def judge_freshness(view: str, as_of: datetime | None, now: datetime) -> JudgedView:
    described = VIEWS[view]
    if as_of is None:
        return JudgedView(
            view, described.kind, None, None, described.freshness_sla, "insufficient_data"
        )
    known = freshness.ViewFreshness(as_of, described.freshness_sla.total_seconds())
    return JudgedView(
        view, described.kind, as_of, known.age(now), described.freshness_sla, known.state(now)
    )
