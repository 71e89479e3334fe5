"""The models' error budgets: which part of the allowed bad requests of 30 world days is used up.

    dojo:budget:{model}    hash: "<world day> <count>" -> number, see COUNTS

Every gateway adds what it has counted (HINCRBY), so gateways share a budget. A killed gateway
loses its last seconds of counting. The rollout controller and the commands read it. Prometheus is
not needed. Its burn-rate alerts look at the same objectives over hours of wall time.

A young world has no 30 days yet. Its budget is that of 30 days with the traffic so far. So one bad
minute of the first day spends no month's budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import cast

import msgspec
from redis import Redis

from dojo.core.spec.schema import ModelSpec, Objective

WINDOW = timedelta(days=30)

# What `dojo models` and `dojo rollout` say.
STOPPED = "error budget spent: rollouts wait"

# What a gateway counts of a model: all requests, and those that ended in a 5xx. Then the answers,
# and those beyond serving.latency_slo.
COUNTS = ("requests", "errors", "answers", "slow")

# Of the budget, at which a stopped rollout goes on. Without the gap it would stop and go on with
# every request at the limit.
RETURNS_AT = 0.9


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """One objective's budget.

    Attributes:
        bad: Number of bad requests in the window.
        counted: Number of requests in the window that could have been bad.
        allowed: Number of bad requests that the objective allows in 30 days.
    """

    objective: Objective
    bad: int
    counted: int
    allowed: float

    @property
    def spent(self) -> float:
        """The part of the budget that is used up. 1 is all of it, and more is possible."""
        return self.bad / self.allowed if self.allowed else 0.0

    def __str__(self) -> str:
        bad = "5xx answers" if self.objective == "availability" else "slow answers"
        return (
            f"{self.objective}: {self.bad:,} {bad} of {self.counted:,}, and 30 days allow"
            f" {self.allowed:,.0f}"
        )


def budget_key(model: str) -> str:
    return f"dojo:budget:{model}"


def count_field(day: date, count: str) -> str:
    """Return the hash's field of a world day's count, one of COUNTS."""
    return f"{day.isoformat()} {count}"


def read_budgets(redis: Redis, spec: ModelSpec, now: datetime) -> list[Budget]:
    """Return the budgets of both objectives at a world time. Raises redis.RedisError."""
    stored = cast("dict[bytes, bytes]", redis.hgetall(budget_key(spec.name)))
    return budgets({field.decode(): int(number) for field, number in stored.items()}, spec, now)


def budgets(counts: Mapping[str, int], spec: ModelSpec, now: datetime) -> list[Budget]:
    """Return the budgets of both objectives.

    Args:
        counts: Field of the hash -> number. Days outside the window do not count.
        now: World time, UTC.
    """
    total = dict.fromkeys(COUNTS, 0)
    first = now
    for field, number in counts.items():
        day, _, count = field.partition(" ")
        begin = datetime.combine(date.fromisoformat(day), time(), UTC)
        if count in total and now - WINDOW < begin <= now:
            total[count] += number
            first = min(first, begin)
    days = max(now - first, timedelta(days=1))
    growth = max(1.0, WINDOW / days)
    serving = spec.serving
    return [
        Budget(
            objective="availability",
            bad=total["errors"],
            counted=total["requests"],
            allowed=(1 - serving.availability_slo) * total["requests"] * growth,
        ),
        Budget(
            objective="latency",
            bad=total["slow"],
            counted=total["answers"],
            allowed=(1 - serving.latency_slo_share) * total["answers"] * growth,
        ),
    ]


def why_stopped(redis: Redis, spec: ModelSpec, now: datetime, is_stopped: bool = False) -> str:
    """Return why the model's rollouts wait, "" while they may go on.

    Args:
        is_stopped: Whether they wait already. They then go on only below RETURNS_AT.

    Raises:
        redis.RedisError: Redis is out of reach.
    """
    if not spec.rollout.error_budget:
        return ""
    limit = RETURNS_AT if is_stopped else 1.0
    spent = [
        str(budget)
        for budget in read_budgets(redis, spec, now)
        if budget.objective in spec.rollout.error_budget and budget.spent >= limit
    ]
    return f"error budget spent: {'; '.join(spent)}" if spent else ""
