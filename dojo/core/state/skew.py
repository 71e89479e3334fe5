"""The measured training-serving skew (D20).

It compares served feature values with an offline point-in-time join for the same requests. The
materializer measures it once a world day, when the day's features are offline
(pipelines/features/skew.py). The monitor judges it by spec.drift.skew.levels.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from redis import Redis

from dojo.core.state.documents import Document


class SkewExample(msgspec.Struct, frozen=True, kw_only=True):
    """One served value that differs. `world_time` is the request's."""

    feature: str
    request_id: str
    world_time: datetime
    served: float
    offline: float


class SkewMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """One world day of one model.

    Attributes:
        day: First moment of the day (UTC).
        as_of: World time of the measurement.
        sampled: Requests that were compared. 0 when there were none to compare, which proves
            nothing.
        rows: Sampled requests with at least one feature that differs.
        share: rows / sampled, None without any sampled request.
        differing: Feature -> requests in which it differs, the most frequent first.
        late: View -> requests that got an older row of their entity than the newest. They are
            compared with the row that they got. The check feature_freshness judges row age, this
            one compares row contents only.
        stale: View -> late requests with a row older than the view's SLA.
        excused: Reason -> requests of the day that could not be in the sample. Either the answer
            says that it knew less (a reason in `degraded`), or the lake has no such event
            (`not_recorded`).
        examples: The worst differing value of each differing feature, at most 10, relative to the
            offline value.
    """

    model: str
    day: datetime
    as_of: datetime
    sampled: int
    rows: int
    share: float | None
    differing: dict[str, int]
    late: dict[str, int]
    excused: dict[str, int]
    examples: tuple[SkewExample, ...] = ()
    stale: dict[str, int] = {}


def latest_skew(redis: Redis, model: str) -> Document[SkewMeasurement]:
    """The model's latest measurement, none before the first."""
    return Document(redis, "dojo:skew:{model}", SkewMeasurement, model=model)
