"""Asks the gateway about events, as a shop's checkout would: impatiently and never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Literal, NamedTuple

import aiohttp
import msgspec
import polars as pl

# The model's name is part of the address.
PREDICT_PATH = "/v1/models/{model}:predict"

# Payments asked about at a time. The gateway is one core, so more in flight would only wait there
# and spoil its latency figures. 16 in flight at 3 ms each are 5,000 a second.
CONCURRENCY = 16

# How long a checkout waits for one answer, and a batch for all of its answers, wall seconds. The
# gateway's own deadline is 100 ms. After these times it counts as hanging, and the payments go
# through without an answer.
ANSWER_PATIENCE_SECONDS = 0.5
BATCH_PATIENCE_SECONDS = 1.0

# After a batch of nothing but timeouts the world asks nothing for this long, wall seconds. Waiting
# for every batch of a hanging gateway would slow it to 20 payments a second.
PAUSE_AFTER_HANGING_SECONDS = 2.0

# A model's question about an event, field of the request -> column.
Question = Mapping[str, str]

# How a question ended, the values of the metric's label `outcome`.
Answer = Literal[
    "scored", "degraded", "refused", "failed", "unreachable", "timeout", "malformed", "skipped"
]


class GatewayAnswer(msgspec.Struct, frozen=True):
    """What the world reads of an answer. The rest is the gateway's own record."""

    prediction_id: str
    version: str
    arm: str
    flagged: bool | None = None
    degraded: list[str] | None = None


class GatewayReply(NamedTuple):
    """How one question ended.

    Attributes:
        model: The asked model.
        row: Number of the event in its stream's rows.
        ended: How it ended.
        seconds: Wall time.
        prediction: The answer, if there is one.
    """

    model: str
    row: int
    ended: Answer
    seconds: float
    prediction: GatewayAnswer | None = None


class _Answer(msgspec.Struct, frozen=True):
    predictions: list[GatewayAnswer]


class GatewayClient:
    """One connection pool to the gateway. Use it as `async with`.

    Args:
        questions: Stream -> model -> its question about each event. Every model is asked.
        time_key: Lets events have their own time, which is long ago while the world catches up.
    """

    def __init__(
        self, url: str, questions: Mapping[str, Mapping[str, Question]], time_key: str
    ) -> None:
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {time_key}"}
        self._url = url
        self._questions = questions
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(_Answer)
        self._session: aiohttp.ClientSession | None = None
        self._ask_again_at = 0.0  # of the event loop's clock

    async def __aenter__(self) -> GatewayClient:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONCURRENCY, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=ANSWER_PATIENCE_SECONDS),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask_all(self, events: Mapping[str, pl.DataFrame]) -> list[GatewayReply]:
        """Ask about every event of a batch, CONCURRENCY at a time.

        After the gateway hung, ask nothing for a while.

        Args:
            events: Stream -> rows.

        Returns:
            How each question ended, an event's questions together. Never raises, because an event
            happens without an answer too.
        """
        clock = asyncio.get_running_loop().time
        asked = [
            (rows, self._questions[of]) for of, rows in events.items() if of in self._questions
        ]
        about = [
            (model, at, row, fields)
            for rows, models in asked
            for at, row in enumerate(rows.iter_rows(named=True))
            for model, fields in models.items()
        ]
        if clock() < self._ask_again_at:
            return [GatewayReply(model, at, "skipped", 0.0) for model, at, _, _ in about]
        questions = [
            (
                model,
                at,
                self._encoder.encode(
                    {"instances": [{field: row[column] for field, column in fields.items()}]}
                ),
            )
            for model, at, row, fields in about
        ]
        replies = [
            GatewayReply(model, at, "timeout", BATCH_PATIENCE_SECONDS) for model, at, _ in questions
        ]
        waiting = iter(enumerate(questions))
        workers = [
            asyncio.create_task(self._work(waiting, replies))
            for _ in range(min(CONCURRENCY, len(questions)))
        ]
        if workers:
            _, late = await asyncio.wait(workers, timeout=BATCH_PATIENCE_SECONDS)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if all(reply.ended == "timeout" for reply in replies):
                self._ask_again_at = clock() + PAUSE_AFTER_HANGING_SECONDS
        return replies

    async def _work(
        self, waiting: Iterable[tuple[int, tuple[str, int, bytes]]], replies: list[GatewayReply]
    ) -> None:
        """One of the workers that share the iterator `waiting`."""
        clock = asyncio.get_running_loop().time
        for index, (model, row, question) in waiting:
            asked = clock()
            ended, prediction = await self._ask(model, question)
            replies[index] = GatewayReply(model, row, ended, clock() - asked, prediction)

    async def _ask(self, model: str, question: bytes) -> tuple[Answer, GatewayAnswer | None]:
        assert self._session is not None, "use as `async with GatewayClient(...)`"
        address = self._url + PREDICT_PATH.format(model=model)
        try:
            async with self._session.post(address, data=question) as response:
                body = await response.read()
        except TimeoutError:
            return "timeout", None
        except aiohttp.ClientError:
            return "unreachable", None
        if response.status >= 500:
            return "failed", None
        if response.status >= 400:
            return "refused", None
        try:
            (prediction,) = self._decoder.decode(body).predictions
        except (msgspec.MsgspecError, ValueError):
            return "malformed", None
        return "degraded" if prediction.degraded else "scored", prediction
