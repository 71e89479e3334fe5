"""Decides which world day is due to be scored, and remembers what was asked for.

    dojo:batch:<model>:day    the day, as ISO date

Only the latest day is asked for. A world that was fast or stopped leaves earlier days out, and
`dojo score batch --day` scores them. Online answers do not wait for them.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import cast

import msgspec
from redis import Redis

from dojo.core.spec.schema import Batch


class Night(msgspec.Struct, frozen=True):
    """One due run.

    Attributes:
        model: The model.
        day: The world day to score.
    """

    model: str
    day: date

    @property
    def key(self) -> str:
        """The run's id in Airflow."""
        return f"night-{self.day.isoformat()}"


def latest_due(batch: Batch, now: datetime) -> date:
    """Return the latest day that ended at least `batch.after` before world time `now`."""
    return (now - batch.after).date() - timedelta(days=1)


class NightsAsked:
    """The memory. Raises redis.RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def last(self, model: str) -> date | None:
        content = cast("bytes | None", self._redis.get(_key(model)))
        return None if content is None else date.fromisoformat(content.decode())

    def due(self, model: str, batch: Batch, now: datetime) -> Night | None:
        """Return the night that is due and was not asked for.

        A remembered day after the latest due one is of another world.
        """
        day = latest_due(batch, now)
        return None if self.last(model) == day else Night(model, day)

    def asked(self, night: Night) -> None:
        self._redis.set(_key(night.model), night.day.isoformat())


def _key(model: str) -> str:
    return f"dojo:batch:{model}:day"
