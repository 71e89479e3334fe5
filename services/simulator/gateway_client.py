"""Asks the gateway about events, as a shop's checkout would: impatiently and never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import pairwise
from types import TracebackType
from typing import Literal, NamedTuple

import aiohttp
import msgspec
import polars as pl

# The model's name is part of the address.
PREDICT_PATH = "/v1/models/{model}:predict"

# Questions asked at a time. The gateway is one core, so more in flight would only wait there
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

# Column of rows that are asked about together: those of one list.
LIST = "list_id"

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
    rank: int | None = None
    value: float | None = None
    high: float | None = None
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


class _Question(NamedTuple):
    """One request.

    Attributes:
        rows: Numbers of the events in their stream's rows.
        at: Number of its first reply.
    """

    model: str
    rows: range
    at: int
    body: bytes


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
        skipped = clock() < self._ask_again_at
        asked: list[_Question] = []
        replies: list[GatewayReply] = []
        for stream, rows in events.items():
            events_of = rows.to_dicts() if stream in self._questions else []
            for together in lists_of(rows) if events_of else ():
                for model, fields in self._questions[stream].items():
                    instances = [
                        {field: events_of[at][column] for field, column in fields.items()}
                        for at in together
                    ]
                    body = b"" if skipped else self._encoder.encode({"instances": instances})
                    asked.append(_Question(model, together, len(replies), body))
                    replies += [
                        GatewayReply(model, at, "timeout", BATCH_PATIENCE_SECONDS)
                        for at in together
                    ]
        if skipped:
            return [reply._replace(ended="skipped", seconds=0.0) for reply in replies]
        waiting = iter(asked)
        workers = [
            asyncio.create_task(self._work(waiting, replies))
            for _ in range(min(CONCURRENCY, len(asked)))
        ]
        if workers:
            _, late = await asyncio.wait(workers, timeout=BATCH_PATIENCE_SECONDS)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if all(reply.ended == "timeout" for reply in replies):
                self._ask_again_at = clock() + PAUSE_AFTER_HANGING_SECONDS
        return replies

    async def _work(self, waiting: Iterable[_Question], replies: list[GatewayReply]) -> None:
        """One of the workers that share the iterator `waiting`."""
        clock = asyncio.get_running_loop().time
        for one in waiting:
            asked = clock()
            ended, predictions = await self._ask(one)
            seconds = clock() - asked
            for number, row in enumerate(one.rows):
                prediction = predictions[number] if predictions else None
                degraded = prediction is not None and prediction.degraded
                replies[one.at + number] = GatewayReply(
                    one.model, row, "degraded" if degraded else ended, seconds, prediction
                )

    async def _ask(self, asked: _Question) -> tuple[Answer, list[GatewayAnswer]]:
        """Return how it ended, with an answer for each of its rows, or without any."""
        assert self._session is not None, "use as `async with GatewayClient(...)`"
        address = self._url + PREDICT_PATH.format(model=asked.model)
        try:
            async with self._session.post(address, data=asked.body) as response:
                body = await response.read()
        except TimeoutError:
            return "timeout", []
        except aiohttp.ClientError:
            return "unreachable", []
        if response.status >= 500:
            return "failed", []
        if response.status >= 400:
            return "refused", []
        try:
            predictions = self._decoder.decode(body).predictions
        except msgspec.MsgspecError:
            return "malformed", []
        return ("scored", predictions) if len(predictions) == len(asked.rows) else ("malformed", [])


def lists_of(rows: pl.DataFrame) -> list[range]:
    """Numbers of the rows that are asked about together, in order."""
    if LIST not in rows.columns:
        return [range(at, at + 1) for at in range(rows.height)]
    lists = rows[LIST].to_list()
    begins = [at for at in range(len(lists)) if at == 0 or lists[at] != lists[at - 1]]
    return [range(*bounds) for bounds in pairwise([*begins, len(lists)])]
