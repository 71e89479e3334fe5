"""Shadows: a challenger scores every answered request again, off the request path.

The results are compared and never acted on.

    offer -> buffer (memory, bounded) -> micro-batches -> the challenger's sandbox
          -> `shadows` on the event log

Faults in this module cost shadows and never a prediction. A full buffer and an absent Redis drop
shadows, and the gateway counts them. The challenger's own faults (errors, crashes, absence) become
events with `error`, because finding them is the purpose of the mirror.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np
import structlog

from dojo.core.events.streams import encode
from dojo.core.events.types import Shadow, Stream
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.clock import wall_now
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.records import Decision
from dojo.core.tasks.specs import task_of
from services.gateway.features.lookup import FeatureSource
from services.gateway.features.redis_client import RedisClient, RedisUnavailableError
from services.gateway.logging.event_commands import appends
from services.gateway.messages.answers import Answer
from services.gateway.metrics import GatewayMetrics
from services.gateway.versions.arms import ServedArm, ServedRoute
from services.gateway.versions.batches import Inputs, Keys, Scoring
from services.gateway.versions.serving import Scored

# Time to collect a batch. A batch costs the gateway about 0.5 ms for wake-ups and system calls, and
# 10 microseconds a row. Twenty batches a second are 1 % of a core. Fifty would be 2.5 %.
COLLECT_SECONDS = 0.05
# Rows per batch. It takes half a millisecond of the event loop in one piece, so no request waits
# noticeably.
BATCH = 64
# A second and a half of traffic at full speed. At about 4 kB each this is 16 MB when full.
BUFFERED = 4096
WRITE_TIMEOUT_SECONDS = 1.0
# Only for a challenger with other features than the champion's.
LOOKUP_TIMEOUT_SECONDS = 0.1

_log = structlog.get_logger("gateway.shadow")


class Mirrored(msgspec.Struct, frozen=True):
    """One answered instance for the shadow."""

    route: ServedRoute
    answer: Answer
    flagged: bool | None
    request_id: str | None
    scoring: Scoring
    keys: Keys
    inputs: Inputs
    world_now: datetime


class ShadowMirror:
    """One model's mirror. `offer` takes instances from the event loop. `run` scores and logs."""

    def __init__(
        self,
        spec: ModelSpec,
        features: FeatureSource,
        client: RedisClient,
        max_stream_length: int,
        metrics: GatewayMetrics,
    ) -> None:
        self._model = model = spec.name
        self._task = task_of(spec)
        self._features = features
        self._client = client
        self._append = appends(Stream.SHADOWS, max_stream_length)
        self._buffer: deque[Mirrored] = deque()
        self._metrics = metrics
        self._written = metrics.shadow_written.labels(model)
        self._offered = asyncio.Event()
        metrics.shadow_buffered.labels(model).set_function(lambda: len(self._buffer))

    def offer(self, mirrored: Mirrored) -> None:
        if len(self._buffer) >= BUFFERED:
            self._drop("buffer_full", 1)
            return
        self._buffer.append(mirrored)
        if not self._offered.is_set():
            self._offered.set()

    async def run(self) -> None:
        """Mirror until cancelled."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            await asyncio.sleep(COLLECT_SECONDS)
            while self._buffer:
                await self._mirror(self._next_batch())

    def _next_batch(self) -> list[Mirrored]:
        """Return the oldest instances with the same route."""
        batch = [self._buffer.popleft()]
        while self._buffer and len(batch) < BATCH and self._buffer[0].route is batch[0].route:
            batch.append(self._buffer.popleft())
        return batch

    async def _mirror(self, batch: Sequence[Mirrored]) -> None:
        shadow = batch[0].route.shadow
        assert shadow is not None
        results = await shadow.served.score(await self._rows(shadow, batch), None)
        for result in results:
            if result.score is None:
                self._metrics.arm_failed.labels(self._model, shadow.name, result.error).inc()
        now, flagged = wall_now(), flags_of(self._task, results, shadow.served.bundle.decision)
        events = [
            encode(_event(self._model, shadow.version, flag, mirrored, result, now))
            for mirrored, result, flag in zip(batch, results, flagged, strict=True)
        ]
        await self._write(events)

    async def _rows(
        self, shadow: ServedArm, batch: Sequence[Mirrored]
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Return the answered rows. A shadow with other features gets rows of its own."""
        rows: list[Sequence[float]] = [mirrored.scoring.row for mirrored in batch]
        others = [
            at
            for at, mirrored in enumerate(batch)
            if mirrored.scoring.by.plan is not shadow.plan  # type: ignore[union-attr]
        ]
        if others:
            stored = await self._features.fetch(
                shadow.plan, [batch[at].keys for at in others], LOOKUP_TIMEOUT_SECONDS
            )
            for at, features in zip(others, stored, strict=True):
                rows[at] = shadow.plan.vector(features.rows, batch[at].inputs)
        return np.array(rows, dtype=np.float32)

    async def _write(self, events: Sequence[bytes]) -> None:
        try:
            replies = await self._client.call(
                self._append(events), len(events), WRITE_TIMEOUT_SECONDS
            )
        except RedisUnavailableError:
            self._drop("redis_away", len(events))
            return
        refused = sum(isinstance(reply, RedisUnavailableError) for reply in replies)
        self._written.inc(len(events) - refused)
        if refused:
            self._drop("redis_refused", refused)

    def _drop(self, reason: str, count: int) -> None:
        self._metrics.shadow_dropped.labels(self._model, reason).inc(count)


def flags_of(task: Task, results: Sequence[Scored], decision: Decision) -> list[bool | None]:
    """Return each result's flag. None for a row without a score."""
    scores = [result.score for result in results if result.score is not None]
    given = iter(task.answers(scores, [decision] * len(scores)))
    return [None if result.score is None else next(given).flagged for result in results]


def _event(
    model: str,
    version: str,
    flagged: bool | None,
    mirrored: Mirrored,
    result: Scored,
    now: datetime,
) -> Shadow:
    answer = mirrored.answer
    return Shadow(
        event_id=Shadow.id_for(answer.prediction_id),
        world_time=mirrored.world_now,
        wall_time=now,
        prediction_id=answer.prediction_id,
        request_id=mirrored.request_id or answer.prediction_id,
        model=model,
        version=version,
        route_generation=mirrored.route.route.generation,
        score=result.score,
        flagged=flagged,
        scoring_seconds=result.seconds,
        champion_version=answer.version,
        champion_score=mirrored.scoring.score,
        champion_flagged=mirrored.flagged,
        champion_scoring_seconds=mirrored.scoring.seconds,
        error=f"{result.error}: {result.detail}" if result.detail else result.error,
    )
