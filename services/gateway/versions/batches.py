"""What becomes of a request's instances: the scorings, and the batches that they share."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from dojo.core.spec.serving import Batching
from services.gateway.features.lookup import StoredFeatures
from services.gateway.sandbox.pace import BATCH_ROWS
from services.gateway.versions.arms import ServedArm, ServedRoute

Keys: TypeAlias = Mapping[str, str]  # entity -> key
Inputs: TypeAlias = Mapping[str, float]  # request input -> value


class Scoring:
    """One instance's way through the arms.

    Attributes:
        chosen: The arm that the route chose.
        propensity: Probability with which the route chose it. 0 for a caller who named it.
        by: The arm that scored. None while no arm has.
        failed: The arms that could not score.
        stored: Stored features for `by`.
        row: The scored row, in the order of the features of `by`.
        score: The score by `by`.
        seconds: Time of scoring alone.
        done: `time.perf_counter()` when the last arm asked had scored it or failed. Instances of
            other arms in the same request end at other times. A fast arm is not charged with a
            slow one's time.
        cached_seconds: World time since the result was computed for an equal request. None if it
            was computed for this one.
    """

    __slots__ = (
        "by",
        "cached_seconds",
        "chosen",
        "done",
        "failed",
        "propensity",
        "row",
        "score",
        "seconds",
        "stored",
    )

    def __init__(self, chosen: ServedArm, propensity: float) -> None:
        self.chosen = chosen
        self.propensity = propensity
        self.by: ServedArm | None = None
        self.failed: tuple[ServedArm, ...] = ()
        self.stored = StoredFeatures((), ())
        self.row: list[float] = []
        self.score = 0.0
        self.seconds = 0.0
        self.done = 0.0
        self.cached_seconds: float | None = None


class ChosenRow(NamedTuple):
    """One instance and how its arm was chosen. `stored` is None where features did not decide."""

    keys: Keys
    inputs: Inputs
    propensity: float
    stored: StoredFeatures | None = None


class SharedBatch:
    """Instances that one arm scores together.

    Attributes:
        arms: The chosen arm, then its stand-ins.
        plans: The features to look up.
        started: `time.perf_counter()` at the arrival of the earliest request.
        stored: Stored features that chose the arm. If all instances have them, no lookup follows.
        waiting: The requests, by number of instances.
        opened: `time.perf_counter()` when the first request joined.
        alarm: Starts the batch, where requests wait for others.
        due: `time.perf_counter()` at the alarm.
    """

    __slots__ = (
        *("alarm", "arms", "due", "inputs", "keys", "opened", "plans", "scorings", "started"),
        *("stored", "waiting"),
    )

    def __init__(self, route: ServedRoute, arm: ServedArm, started: float) -> None:
        self.arms = (arm, *(other for other in route.live if other is not arm))
        # There is no time for a second lookup later, so the first stand-in's features come along.
        self.plans = tuple(dict.fromkeys((arm.plan, route.live[0].plan)))
        self.started = started
        self.opened, self.due = time.perf_counter(), math.inf
        self.alarm: asyncio.TimerHandle | None = None
        self.keys: list[Keys] = []
        self.inputs: list[Inputs] = []
        self.scorings: list[Scoring] = []
        self.stored: list[StoredFeatures] = []
        self.waiting: list[tuple[int, asyncio.Future[list[Scoring]]]] = []

    def add(self, asked: Sequence[ChosenRow], scored: asyncio.Future[list[Scoring]]) -> None:
        self.keys += [one.keys for one in asked]
        self.inputs += [one.inputs for one in asked]
        self.scorings += [Scoring(self.arms[0], one.propensity) for one in asked]
        self.stored += [one.stored for one in asked if one.stored is not None]
        self.waiting.append((len(asked), scored))

    def answer(self, whole_only: bool) -> None:
        """Give the requests their results.

        Args:
            whole_only: Leave out requests with an instance without a score.
        """
        first = 0
        for count, scored in self.waiting:
            part = self.scorings[first : first + count]
            first += count
            # Its caller may have gone.
            if not scored.done() and not (whole_only and any(one.by is None for one in part)):
                scored.set_result(part)

    def fail(self, error: Exception) -> None:
        for _, scored in self.waiting:
            if not scored.done():
                scored.set_exception(error)


class OpenBatches:
    """One model's batches that still take requests, at most one for each arm.

    A batch takes the requests of one turn of the event loop. With `batching` it takes more:

    - The first request waits for others, at most `wait`.
    - While the arm scores a batch, the next one fills. It starts when the arm is free.
    - A full batch starts at once. So does one with a request that has no more time to wait.

    Args:
        patience: Seconds after a request's arrival in which its run must end.
        run: Scores a batch. It never raises.
    """

    def __init__(
        self,
        batching: Batching | None,
        patience: float,
        run: Callable[[SharedBatch], Awaitable[None]],
    ) -> None:
        self._wait = 0.0 if batching is None else batching.wait.total_seconds()
        self._rows = BATCH_ROWS if batching is None else batching.rows
        self._patience, self._run = patience, run
        self._open: dict[ServedArm, SharedBatch] = {}
        self._busy: Counter[ServedArm] = Counter()  # arm -> its batches that are being scored
        self._running: set[asyncio.Task[None]] = set()

    def join(
        self, route: ServedRoute, arm: ServedArm, asked: Sequence[ChosenRow], started: float
    ) -> asyncio.Future[list[Scoring]]:
        """Add a request's instances to the arm's open batch. A request is never torn.

        Args:
            started: `time.perf_counter()` at the request's arrival.
        """
        loop = asyncio.get_running_loop()
        batch = self._open.get(arm)
        if batch is None or len(batch.keys) + len(asked) > self._rows:
            if batch is not None and self._wait:
                self._start(batch)
            batch = SharedBatch(route, arm, started)
            if arm.served.takes_batches:
                self._open[arm] = batch
            if not self._wait:
                loop.call_soon(self._start, batch)
        scored: asyncio.Future[list[Scoring]] = loop.create_future()
        batch.add(asked, scored)
        batch.started = min(batch.started, started)
        if self._wait:
            self._start_or_wait(batch)
        return scored

    def _start_or_wait(self, batch: SharedBatch) -> None:
        now, arm = time.perf_counter(), batch.arms[0]
        latest = batch.started + self._patience - arm.served.run_seconds
        due = latest if self._busy[arm] else min(latest, batch.opened + self._wait)
        if len(batch.keys) >= self._rows or due <= now:
            self._start(batch)
        elif due != batch.due:
            self._silence(batch)
            batch.due = due
            loop = asyncio.get_running_loop()
            batch.alarm = loop.call_later(due - now, self._rung, batch)

    def _rung(self, batch: SharedBatch) -> None:
        batch.due = math.inf  # the timer's clock may be early, and then it is set anew
        self._start_or_wait(batch)

    def _silence(self, batch: SharedBatch) -> None:
        if batch.alarm is not None:
            batch.alarm.cancel()

    def _start(self, batch: SharedBatch) -> None:
        arm = batch.arms[0]
        self._silence(batch)
        if self._open.get(arm) is batch:
            del self._open[arm]
        self._busy[arm] += 1
        task = asyncio.get_running_loop().create_task(self._run_to_end(batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run_to_end(self, batch: SharedBatch) -> None:
        await self._run(batch)
        arm = batch.arms[0]
        self._busy[arm] -= 1
        if not self._busy[arm]:
            del self._busy[arm]
        following = self._open.get(arm)
        if following is not None and self._wait:
            self._start_or_wait(following)
