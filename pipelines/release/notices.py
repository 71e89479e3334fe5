"""A retraining's entries in the audit trail and messages to the model's owner.

A repeated entry or message counts once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from redis import Redis

from dojo.core.state.audit import AuditTrail, Kind
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from dojo.core.state.inbox import Notice, Notifier, Urgency
from pipelines.training.job import Job


class RetrainingNotices:
    """Notices of one job. Methods raise redis.RedisError when Redis is out of reach.

    A step that cannot be recorded must wait.
    """

    def __init__(self, redis: Redis, job: Job) -> None:
        self.redis = redis
        self.audit = AuditTrail(redis)
        self._notifier, self._clock, self._job = (
            Notifier(redis, "retraining"),
            RedisWorldClock(redis),
            job,
        )

    def world_now(self) -> datetime:
        """Return the world's time. In a world without a clock, return the job's."""
        try:
            return self._clock.now()
        except ClockNotSetError:
            return self._job.as_of

    def write(
        self, step: str, kind: Kind, what: str, after: Any = None, before: Any = None
    ) -> None:
        """Write into the audit trail, once per job and `step`."""
        self.audit.append(
            entry_id=f"{self._job.occasion}:{step}",
            kind=kind,
            model=self._job.model,
            who=self._job.who,
            what=what,
            why=self._job.reason,
            before=before,
            after=after,
            world_time=self.world_now(),
        )

    def tell(self, step: str, owner: str, urgency: Urgency, title: str, text: str) -> None:
        """Write into the owner's inbox, once per job and `step`."""
        notice = Notice(f"{self._job.occasion}:{step}", urgency, title, text)
        self._notifier.tell(owner, self._job.model, notice, self.world_now())
