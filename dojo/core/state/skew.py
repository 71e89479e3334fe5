"""The measured training-serving skew (D20): served feature values against what an offline point-in-time join gives for the same requests.

The materializer measures it once a world day, when the day's features are offline (pipelines/features/skew.py); the monitor judges it by
spec.drift.skew.levels.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from redis import Redis

from dojo.core.state.documents import Document


class SkewExample(msgspec.Struct, frozen=True, kw_only=True):
    """One served value that differs. `world_time`: of the request."""

    feature: str
    request_id: str
    world_time: datetime
    served: float
    offline: float


class SkewMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """One world day of one model.

    Attributes:
        day: its first moment (UTC). as_of: world time of the measurement.
        sampled: requests that were compared; 0 when there were none to compare, which is no proof of anything.
        rows: of these, requests with at least one feature that differs. share: rows / sampled, None without any.
        differing: feature -> requests in which it differs, the most frequent first.
        late: view -> requests that got an entity's row from before its newest: compared with the row that they got. How old rows are is
            feature_freshness' to judge, what is in them is skew. stale: those of them that the view's SLA does not allow for.
        excused: why requests of the day could not be in the sample -> how many: their answer says itself that it knew less (one of its
            reasons in `degraded`), or the lake has no event of their id (`not_recorded`).
        examples: the worst differing value of each differing feature, at most 10, relative to the offline value.
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
    """The model's latest measurement; none before the first."""
    return Document(redis, "dojo:skew:{model}", SkewMeasurement, model=model)
