"""What a gateway writes to the models' error budgets, on a real Redis."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dojo.core.connections import connect_redis
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.error_budget import WINDOW, budget_key, count_field
from dojo.core.tasks.specs import load_spec
from services.gateway.budgets import ErrorBudgets
from services.gateway.clock import GatewayClock
from services.gateway.features.redis_client import RedisClient
from services.gateway.metrics import GatewayMetrics
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

SPEC = load_spec(Path("models/fraud_detection.yaml"))
WORLD = datetime(2026, 3, 31, 18, tzinfo=UTC)


def test_a_day_that_has_left_the_window_is_deleted_also_of_a_silent_model(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis, specs = connect_redis(redis_server.url), {"silent": SPEC, "busy": SPEC}
    RedisWorldClock(redis).set(WORLD, speed=0)
    past = (WORLD - WINDOW - timedelta(days=1)).date()
    for model in specs:
        redis.hset(budget_key(model), count_field(past, "requests"), "5")

    async def write() -> None:
        client, metrics = RedisClient(redis_server.url), GatewayMetrics(specs)
        clock = GatewayClock(client, tmp_path / "clock.json")
        budgets = ErrorBudgets(specs, metrics, client, clock)
        connection = asyncio.create_task(client.run())
        async with asyncio.timeout(10):
            while not client.connected:
                await asyncio.sleep(0.01)
            await clock.refresh()
            metrics.requests.labels("busy", "200").inc()
            await budgets.write()
            await budgets.write()
        connection.cancel()

    asyncio.run(write())
    assert redis.hgetall(budget_key("silent")) == {}
    today = count_field(WORLD.date(), "requests").encode()
    assert redis.hgetall(budget_key("busy")) == {today: b"1"}
