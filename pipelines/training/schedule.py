"""Decides when a retraining is due: every spec.training.schedule of world time since the last one.

Redis remembers it, so the schedule survives restarts. One retraining makes up for any missed time.

    dojo:retraining:<model>:last       world time of the latest retraining's begin, scheduled or not
    dojo:retraining:<model>:finished   world time of the latest retraining's end;
                                       before the first one, when this count began
    dojo:retraining:<model>:pending    the schedule's job until it has ended, as JSON
    dojo:retraining:<model>:count      a random name of this count of weeks;
                                       another world has another name
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Literal, cast

import msgspec
from redis import Redis

from pipelines.training.job import Job

State = Literal["begin", "due", "waiting"]


def state(last: datetime | None, now: datetime, every: timedelta) -> State:
    """Return what the schedule asks for at world time `now`.

    Returns:
        `begin` counts from now on. Nothing was remembered, or `last` is later than now and so of
        another world. `due` retrains once. `waiting` waits until last + every.
    """
    if last is None or last > now:
        return "begin"
    return "due" if now - last >= every else "waiting"


class ScheduleStore:
    """The schedule's memory. Raises redis.RedisError when Redis is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def last(self, model: str) -> datetime | None:
        """Return the world time at which the latest retraining was asked for."""
        return self._moment(_last_key(model))

    def finished(self, model: str) -> datetime | None:
        """Return the world time at which the latest retraining ended.

        It ended with a verdict of the gate, or with a version where the job has no gate.
        """
        return self._moment(_finished_key(model))

    def begin(self, model: str, now: datetime) -> None:
        """Count from `now`."""
        with self._redis.pipeline() as pipe:
            pipe.set(_last_key(model), now.isoformat())
            pipe.set(_finished_key(model), now.isoformat())
            pipe.set(_count_key(model), secrets.token_hex(4))
            pipe.execute()

    def count(self, model: str) -> str:
        """Return the name of this count.

        Make it when a retraining by hand came before the schedule's first look.
        """
        self._redis.set(_count_key(model), secrets.token_hex(4), nx=True)
        return cast("bytes", self._redis.get(_count_key(model))).decode()

    def began(self, model: str, now: datetime) -> None:
        """Remember that a retraining began at `now`."""
        with self._redis.pipeline() as pipe:
            pipe.set(_last_key(model), now.isoformat())
            pipe.set(_finished_key(model), now.isoformat(), nx=True)  # the first one may never end
            pipe.execute()

    def finish(self, model: str, now: datetime) -> None:
        """Remember that a retraining ended at `now`."""
        self._redis.set(_finished_key(model), now.isoformat())

    def pending(self, model: str) -> Job | None:
        content = cast("bytes | None", self._redis.get(_pending_key(model)))
        return None if content is None else msgspec.json.decode(content, type=Job)

    def ask(self, job: Job, now: datetime) -> None:
        """Remember the job until `ended`, and that it began. Both are written in one step."""
        with self._redis.pipeline() as pipe:
            pipe.set(_pending_key(job.model), msgspec.json.encode(job))
            pipe.set(_last_key(job.model), now.isoformat())
            pipe.set(_finished_key(job.model), now.isoformat(), nx=True)
            pipe.execute()

    def ended(self, model: str) -> None:
        self._redis.delete(_pending_key(model))

    def _moment(self, key: str) -> datetime | None:
        content = cast("bytes | None", self._redis.get(key))
        return None if content is None else datetime.fromisoformat(content.decode())


def scheduled_job(model: str, now: datetime, every: str, count: str) -> Job:
    """Return the job that the schedule asks for at `now`.

    Args:
        model: The model's name.
        now: World time.
        every: The schedule's interval in words.
        count: Name of the count. It separates the same moment of two worlds. A remote Airflow or
            MLflow outlives the first world. Without it, they would take the second world's job for
            done.
    """
    key = f"scheduled-{now:%Y-%m-%dT%H%M%S}-{count}"
    return Job(model=model, key=key, as_of=now, reason=f"scheduled, every {every}", who="schedule")


def _last_key(model: str) -> str:
    return f"dojo:retraining:{model}:last"


def _finished_key(model: str) -> str:
    return f"dojo:retraining:{model}:finished"


def _count_key(model: str) -> str:
    return f"dojo:retraining:{model}:count"


def _pending_key(model: str) -> str:
    return f"dojo:retraining:{model}:pending"
