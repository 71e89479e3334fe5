"""Error budgets get each counted request once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from dojo.core.tasks.specs import load_spec
from services.gateway.budgets import ErrorBudgets
from services.gateway.clock import GatewayClock
from services.gateway.features.redis_client import RedisClient, RedisUnavailableError
from services.gateway.metrics import GatewayMetrics

SPEC = load_spec(Path("models/fraud_detection.yaml"))


class SlowRedis:
    """Answers after a turn of the event loop, or not at all."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.away = False

    async def call(self, commands: bytes, count: int, timeout: float) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise RedisUnavailableError("away")
        self.sent.append(commands)


def test_a_count_is_added_once_by_two_writes_at_a_time_and_after_a_failed_one() -> None:
    metrics, redis = GatewayMetrics({SPEC.name: SPEC}), SlowRedis()
    clock = SimpleNamespace(is_set=True, now=lambda: datetime(2018, 6, 15, tzinfo=UTC))
    budgets = ErrorBudgets(
        {SPEC.name: SPEC}, metrics, cast(RedisClient, redis), cast(GatewayClock, clock)
    )

    async def scenario() -> None:
        metrics.requests.labels(SPEC.name, "200").inc(7)
        redis.away = True
        await budgets.write()
        redis.away = False
        await asyncio.gather(budgets.write(), budgets.write())
        await budgets.write()

    asyncio.run(scenario())
    (commands,) = redis.sent
    assert commands.count(b"HINCRBY") == 1
    assert b"2018-06-15 requests\r\n$1\r\n7\r\n" in commands
