"""Adds the gateway's counts of good and bad requests to the models' error budgets in Redis.

The counts are those of the metrics. So a request costs nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from dojo.core.spec.schema import ModelSpec
from dojo.core.state.error_budget import COUNTS, WINDOW, budget_key, count_field
from services.gateway.clock import GatewayClock
from services.gateway.features.redis_client import RedisClient, RedisUnavailableError, command
from services.gateway.metrics import GatewayMetrics

# A killed gateway loses this much of its counting. A month's budget does not notice.
WRITE_SECONDS = 2.0
TIMEOUT_SECONDS = 1.0


class ErrorBudgets:
    """Writes what was counted since the last write, by world day. Deletes days of the past."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        metrics: GatewayMetrics,
        client: RedisClient,
        clock: GatewayClock,
    ) -> None:
        self._specs, self._metrics, self._client, self._clock = specs, metrics, client, clock
        self._written: dict[str, tuple[int, ...]] = {}
        self._cleared: date | None = None  # the last day on which old counts were deleted
        self._writing = asyncio.Lock()  # two writes at a time would add the same counts twice

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write now. Without Redis or a world, the counts wait for the next call."""
        async with self._writing:
            if not self._clock.is_set:
                return
            today, counted = self._clock.now().date(), self._metrics.answered(self._specs)
            commands = self._additions(today, counted)
            if today != self._cleared:
                commands += _deletions(today, counted)
            if not commands:
                return
            try:
                await self._client.call(b"".join(commands), len(commands), TIMEOUT_SECONDS)
            except RedisUnavailableError:
                return
            self._written, self._cleared = counted, today

    def _additions(self, today: date, counted: Mapping[str, tuple[int, ...]]) -> list[bytes]:
        """Return the commands that add what was counted since the last write."""
        commands = []
        for model, totals in counted.items():
            before = self._written.get(model, (0,) * len(COUNTS))
            key = budget_key(model).encode()
            for name, total, written in zip(COUNTS, totals, before, strict=True):
                if total > written:
                    field, more = count_field(today, name), str(total - written)
                    commands.append(command(b"HINCRBY", key, field.encode(), more.encode()))
        return commands


def _deletions(today: date, models: Iterable[str]) -> list[bytes]:
    """Return the commands that delete the day that has left the window."""
    past = today - WINDOW - timedelta(days=1)
    fields = [count_field(past, name).encode() for name in COUNTS]
    return [command(b"HDEL", budget_key(model).encode(), *fields) for model in models]
