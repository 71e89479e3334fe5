"""Requests of one turn of the event loop share a batch, and no request pays for another's fault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from dojo.core.registry.bundle import Bundle, OnnxScorer
from dojo.core.spec.schema import ModelSpec
from dojo.core.spec.serving import Batching
from dojo.core.state.draws import Context, ContextInput, Draw
from dojo.core.state.routes import Arm, Route
from dojo.core.tasks.specs import load_spec
from services.gateway.children import CRASHED
from services.gateway.features.lookup import FeatureSource
from services.gateway.features.online_store import EntityFields, EntityRow
from services.gateway.metrics import GatewayMetrics
from services.gateway.sandbox.frames import Result
from services.gateway.sandbox.pace import BATCH_ROWS
from services.gateway.sandbox.sandbox import Sandbox
from services.gateway.versions.arms import ServedRoute, served_route
from services.gateway.versions.batches import Scoring
from services.gateway.versions.scoring import ArmScorer
from services.gateway.versions.serving import SandboxedModel, ScorableVersion, ServedModel
from tests.support.bundles import TRAINED_AS_OF

SPEC = load_spec(Path("models/fraud_detection.yaml"))
BUNDLE = Bundle(
    model=SPEC.name,
    feature_service=SPEC.feature_service,
    features=("amount", "customer_tx_count_7d"),
    stored_defaults={},
    decision={"threshold": 0.5},
    trained_as_of=TRAINED_AS_OF,
    sha256={},
)
REFUSED = 0.001  # the amount that the fake model refuses


class CountingStore:
    """A store without rows. It counts the entities of each read."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    async def read(
        self, wanted: Sequence[tuple[EntityFields, str]], timeout: float
    ) -> list[EntityRow]:
        self.reads.append(len(wanted))
        await asyncio.sleep(0)
        return [fields.unknown for fields, _ in wanted]


class CountingScorer:
    """Uses each row's amount as its score, and refuses every run with REFUSED."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs: list[int] = []
        self._error = error or Fail("refused")

    def score(self, rows: np.ndarray) -> np.ndarray:
        self.runs.append(len(rows))
        if np.isclose(rows[:, 0], REFUSED).any():
            raise self._error
        return rows[:, 0]


class SlowSandbox:
    """Scores every row with 0.75 once it may, or crashes."""

    run_seconds = 0.01

    def __init__(self, crashes: bool = False) -> None:
        self.runs: list[int] = []
        self.may_answer = asyncio.Event()
        self._crashes = crashes

    async def score(self, values: bytes, count: int, timeout: float | None) -> list[Result]:
        self.runs.append(count)
        await self.may_answer.wait()
        return [
            Result(row, None, 0.0, CRASHED) if self._crashes else Result(row, 0.75, 0.0)
            for row in range(count)
        ]


def served(scorer: CountingScorer, version: str = "1") -> ServedModel:
    return ServedModel(SPEC, version, "0", BUNDLE, cast("OnnxScorer", scorer))


def sandboxed(sandbox: SlowSandbox, spec: ModelSpec = SPEC) -> SandboxedModel:
    return SandboxedModel(spec, "2", "0", BUNDLE, cast("Sandbox", sandbox))


def waiting(wait: timedelta, rows: int = 64, deadline: float = 0.4) -> ModelSpec:
    """Return a spec whose requests wait for others. `deadline` in seconds."""
    changes = {"batching": Batching(wait=wait, rows=rows), "deadline": timedelta(seconds=deadline)}
    return SPEC.model_copy(update={"serving": SPEC.serving.model_copy(update=changes)})


def route(*versions: ScorableVersion, weights: Sequence[float] = (1.0,)) -> ServedRoute:
    arms = tuple(
        Arm(name, version.version, weight)
        for name, version, weight in zip(
            ("champion", "challenger"), versions, weights, strict=False
        )
    )
    described = Route(
        model=SPEC.name,
        generation=1,
        strategy="canary" if len(arms) > 1 else "champion",
        arms=arms,
        salt="s",
        changed_at=datetime(2026, 1, 1, tzinfo=UTC),
        who="test",
        why="",
    )
    return served_route(described, versions)


class Asking:
    """A scorer, and requests by their amounts."""

    def __init__(self, spec: ModelSpec = SPEC) -> None:
        self.store = CountingStore()
        self.scorer = ArmScorer(spec, FeatureSource(self.store), GatewayMetrics())

    def __call__(
        self,
        by: ServedRoute,
        *amounts: float,
        customer: Callable[[int], str] = str,
        since: float = 0.0,
    ) -> Awaitable[list[Scoring]]:
        """Ask. The request arrived `since` seconds ago."""
        return self.scorer.score(
            by,
            [{"customer": customer(at), "merchant": "m"} for at in range(len(amounts))],
            [{"amount": amount, "transaction_time": 0.0} for amount in amounts],
            time.perf_counter() - since,
        )


async def scores(asked: Awaitable[list[Scoring]]) -> list[float | None]:
    return [
        None if one.by is None else pytest.approx(one.score)  # float32 in between
        for one in await asked
    ]


def test_requests_that_ask_at_the_same_time_share_a_lookup_and_a_run() -> None:
    scorer, asking = CountingScorer(), Asking()

    async def ask() -> list[list[float | None]]:
        by = route(served(scorer))
        requests = [asking(by, 0.5), asking(by, 0.25, 0.75), asking(by, 0.125)]
        return await asyncio.gather(*map(scores, requests))

    assert asyncio.run(ask()) == [[0.5], [0.25, 0.75], [0.125]]
    assert scorer.runs == [4]
    assert asking.store.reads == [8], "two entities of four instances, in one call"


def test_a_full_batch_starts_and_the_next_request_opens_another() -> None:
    scorer, asking = CountingScorer(), Asking()

    async def ask() -> None:
        by = route(served(scorer))
        await asyncio.gather(*(asking(by, *[0.5] * 40) for _ in range(3)))
        await asking(by, *[0.5] * (BATCH_ROWS + 1))

    asyncio.run(ask())
    assert scorer.runs == [40, 40, 40, BATCH_ROWS + 1], "a request is never torn"


def test_a_row_that_cannot_be_scored_costs_no_other_request_its_score() -> None:
    async def ask() -> list[list[float | None]]:
        by, asking = route(served(CountingScorer())), Asking()
        requests = [asking(by, 0.5), asking(by, 0.25, REFUSED), asking(by, 0.125)]
        return await asyncio.gather(*map(scores, requests))

    assert asyncio.run(ask()) == [[0.5], [0.25, None], [0.125]]


def test_a_defect_fails_every_request_of_the_batch_and_leaves_none_waiting() -> None:
    async def ask() -> list[list[Scoring] | BaseException]:
        by, asking = route(served(CountingScorer(ZeroDivisionError("a defect")))), Asking()
        return await asyncio.gather(asking(by, 0.5), asking(by, REFUSED), return_exceptions=True)

    assert [type(found) for found in asyncio.run(ask())] == [ZeroDivisionError] * 2


def test_a_caller_that_has_gone_costs_no_other_request_its_score() -> None:
    async def ask() -> list[float | None]:
        by, asking = route(served(CountingScorer())), Asking()
        gone, stays = (asyncio.ensure_future(asking(by, score)) for score in (0.5, 0.25))
        gone.cancel()
        return await scores(stays)

    assert asyncio.run(ask()) == [0.25]


def test_rows_for_a_process_of_its_own_are_not_put_together() -> None:
    async def ask() -> tuple[list[list[float | None]], list[int]]:
        sandbox, asking = SlowSandbox(), Asking()
        by = route(sandboxed(sandbox))
        sandbox.may_answer.set()
        requests = [asking(by, 0.5), asking(by, 0.25, 0.125)]
        return await asyncio.gather(*map(scores, requests)), sandbox.runs

    assert asyncio.run(ask()) == ([[0.75], [0.75, 0.75]], [1, 2])


def test_a_request_with_two_arms_gets_its_answers_in_order_and_a_slow_arm_delays_no_other() -> None:
    async def ask() -> tuple[list[str], list[float | None]]:
        sandbox, asking = SlowSandbox(), Asking()
        by = route(served(CountingScorer()), sandboxed(sandbox), weights=(0.5, 0.5))
        both = asyncio.ensure_future(asking(by, *[0.25] * 20))
        champions = next(k for k in map(str, range(99)) if by.choose(k)[0].name == "champion")
        alone = await asyncio.wait_for(scores(asking(by, 0.5, customer=lambda _: champions)), 5)
        assert alone == [0.5]
        assert not both.done()
        sandbox.may_answer.set()
        found = await both
        expected = [by.choose(str(at))[0].name for at in range(20)]
        assert [one.chosen.name for one in found] == expected
        return expected, [one.score for one in found]

    arms, found = asyncio.run(ask())
    assert {"champion", "challenger"} == set(arms)
    assert found == [0.25 if arm == "champion" else 0.75 for arm in arms]


def test_a_stand_in_delays_only_the_request_that_needs_it() -> None:
    async def ask() -> list[float | None]:
        sandbox, asking = SlowSandbox(), Asking()
        by = route(served(CountingScorer()), sandboxed(sandbox), weights=(1.0, 0.0))
        whole, failing = asking(by, 0.5), asyncio.ensure_future(asking(by, 0.25, REFUSED))
        assert await asyncio.wait_for(scores(whole), 5) == [0.5]
        assert not failing.done()
        sandbox.may_answer.set()
        (_, stood_in) = await failing
        assert stood_in.by is not None
        assert [arm.name for arm in stood_in.failed] == ["champion"]
        assert stood_in.by.name == "challenger"
        return await scores(failing)

    assert asyncio.run(ask()) == [0.25, 0.75]


def test_after_every_arm_has_failed_there_is_no_score() -> None:
    async def ask() -> list[Scoring]:
        sandbox, asking = SlowSandbox(crashes=True), Asking()
        by = route(sandboxed(sandbox), served(CountingScorer()), weights=(1.0, 0.0))
        sandbox.may_answer.set()
        return await asking(by, REFUSED)

    (found,) = asyncio.run(ask())
    assert found.by is None
    assert [arm.name for arm in found.failed] == ["champion", "challenger"]


def test_propensities_are_the_probabilities_of_the_arms() -> None:
    async def ask() -> tuple[list[tuple[str, float]], list[float], list[float]]:
        sandbox, asking = SlowSandbox(), Asking()
        sandbox.may_answer.set()
        by = route(served(CountingScorer()), sandboxed(sandbox), weights=(0.7, 0.3))
        split = [(one.chosen.name, one.propensity) for one in await asking(by, *[0.25] * 20)]
        pinned = [one.propensity for one in await asking(by.pinned(), 0.25)]
        alone = [one.propensity for one in await asking(route(served(CountingScorer())), 0.25)]
        return split, pinned, alone

    split, pinned, alone = asyncio.run(ask())
    assert set(split) == {("champion", 0.7), ("challenger", 0.3)}
    assert (pinned, alone) == ([0.0], [1.0])


def test_a_route_that_is_not_sticky_draws_each_request_anew() -> None:
    by = drawn_by(Draw(sticky=False))
    arms = [by.choose("one customer", str(at))[0].name for at in range(1000)]
    assert 250 < arms.count("challenger") < 350
    assert by.choose("one customer", "7") == by.choose("another", "7")
    assert by.choose("one customer", "") == by.choose("one customer", "")
    sticky = drawn_by(Draw())
    assert len({sticky.choose("one customer", str(at)) for at in range(100)}) == 1


def test_a_choice_by_context_costs_one_lookup_and_follows_the_scored_row() -> None:
    """The challenger is better above 0.5 euro, in all draws."""
    context = Context(
        inputs=(ContextInput("amount", 0.5, 0.2),),
        floors={"champion": 0.2, "challenger": 0.1},
        draws=(((0.0, 0.0), (0.0, 1.0)),) * 4,
    )
    by, asking = drawn_by(Draw(sticky=False, context=context)), Asking()

    async def ask() -> list[Scoring]:
        loop = asyncio.get_running_loop()
        return await asking.scorer.score(
            by,
            [{"customer": str(at), "merchant": "m"} for at in range(400)],
            [{"amount": 0.9 if at % 2 else 0.2, "transaction_time": 0.0} for at in range(400)],
            loop.time(),
            [f"r{at}" for at in range(400)],
        )

    found = asyncio.run(ask())
    assert len(asking.store.reads) == 1
    rich, poor = found[1::2], found[0::2]
    assert sum(one.chosen.name == "challenger" for one in rich) > 0.7 * 200
    assert sum(one.chosen.name == "challenger" for one in poor) < 0.2 * 200
    for at, one in enumerate(found):
        assert one.by is one.chosen
        again = by.route.at(
            by.route.drawn_for(str(at), f"r{at}"), dict(zip(BUNDLE.features, one.row, strict=True))
        )
        assert (again[0].name, again[1]) == (one.chosen.name, one.propensity)
        assert one.propensity == pytest.approx(
            {("challenger", 1): 0.8, ("champion", 1): 0.2}.get(
                (one.chosen.name, at % 2), 0.9 if one.chosen.name == "champion" else 0.1
            )
        )


NEVER = timedelta(days=1)


def test_a_request_waits_for_others_and_they_share_a_run() -> None:
    scorer, asking = CountingScorer(), Asking(waiting(timedelta(milliseconds=30)))

    async def ask() -> float:
        by, began = route(served(scorer)), time.perf_counter()
        first = asyncio.ensure_future(asking(by, 0.5))
        await asyncio.sleep(0)  # it has asked, and waits
        both = await asyncio.gather(scores(first), scores(asking(by, 0.25)))
        assert both == [[0.5], [0.25]]
        return time.perf_counter() - began

    assert asyncio.run(ask()) >= 0.03
    assert scorer.runs == [2]
    assert asking.store.reads == [4]


def test_a_full_batch_waits_no_longer_and_a_request_that_does_not_fit_starts_it() -> None:
    scorer, asking = CountingScorer(), Asking(waiting(NEVER, rows=4, deadline=60))

    async def ask() -> None:
        by = route(served(scorer))
        full = [asking(by, 0.5), asking(by, 0.25, 0.5, 0.125)]
        await asyncio.wait_for(asyncio.gather(*full), 5)
        torn = [asking(by, *[0.5] * 3), asking(by, *[0.5] * 5)]
        await asyncio.wait_for(asyncio.gather(*torn), 5)

    asyncio.run(ask())
    assert scorer.runs == [4, 3, 5]


@pytest.mark.parametrize("waits_before", [True, False])
def test_a_request_without_time_to_wait_is_scored_at_once(waits_before: bool) -> None:
    """Of 60 s, 20 ms are for a stand-in and 30 for the features. It takes its batch along."""
    scorer, asking = CountingScorer(), Asking(waiting(NEVER, deadline=60))

    async def ask() -> None:
        by = route(served(scorer))
        asked = [asking(by, 0.5)] if waits_before else []
        asked.append(asking(by, 0.5, since=59.96))
        await asyncio.wait_for(asyncio.gather(*asked), 20)

    asyncio.run(ask())
    assert scorer.runs == [1 + waits_before]


def test_a_batch_waits_until_its_deadline_and_no_longer() -> None:
    scorer, asking = CountingScorer(), Asking(waiting(NEVER))

    async def ask() -> float:
        began = time.perf_counter()
        await asyncio.wait_for(asking(route(served(scorer)), 0.5), 5)
        return time.perf_counter() - began

    assert asyncio.run(ask()) > 0.34


def test_the_next_batch_fills_while_a_process_scores_and_starts_when_it_is_free() -> None:
    async def ask() -> list[int]:
        spec, sandbox = waiting(timedelta(milliseconds=5), deadline=60), SlowSandbox()
        by, asking = route(sandboxed(sandbox, spec)), Asking(spec)
        first = asyncio.ensure_future(asking(by, 0.5))
        async with asyncio.timeout(5):
            while not sandbox.runs:
                await asyncio.sleep(0.001)
        others = []
        for _ in range(3):
            others.append(asyncio.ensure_future(asking(by, 0.5)))
            await asyncio.sleep(0.01)  # longer than a request waits for a free process
        assert sandbox.runs == [1]
        sandbox.may_answer.set()
        await asyncio.wait_for(asyncio.gather(first, *others), 5)
        return sandbox.runs

    assert asyncio.run(ask()) == [1, 3]


def test_a_busy_process_is_asked_in_time_for_its_last_row() -> None:
    """The second batch starts 350 ms after its request came, less the 10 ms of a run."""

    async def ask() -> float:
        spec, sandbox = waiting(timedelta(milliseconds=1)), SlowSandbox()
        by, asking = route(sandboxed(sandbox, spec)), Asking(spec)
        asked = [asyncio.ensure_future(asking(by, 0.5))]
        async with asyncio.timeout(5):
            while not sandbox.runs:
                await asyncio.sleep(0.001)
        began = time.perf_counter()
        asked.append(asyncio.ensure_future(asking(by, 0.5)))
        async with asyncio.timeout(5):
            while len(sandbox.runs) < 2:
                await asyncio.sleep(0.001)
        took = time.perf_counter() - began
        sandbox.may_answer.set()
        await asyncio.gather(*asked)
        return took

    assert asyncio.run(ask()) > 0.33


def drawn_by(draw: Draw) -> ServedRoute:
    """Return a route of two trusted versions with 70 % and 30 % of the traffic."""
    versions = (served(CountingScorer()), served(CountingScorer(), "2"))
    described = msgspec.structs.replace(
        route(*versions, weights=(0.7, 0.3)).route, strategy="bandit", draw=draw
    )
    return served_route(described, versions)
