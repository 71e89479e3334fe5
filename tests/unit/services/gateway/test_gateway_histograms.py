"""The gateway's histograms against prometheus_client's own, and the time limit without a timer."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from services.gateway.eager import within
from services.gateway.histograms import WAITING, DeferredHistogram
from services.gateway.metrics import LATENCY_BUCKETS


def test_a_scrape_shows_what_prometheus_own_histogram_would() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    deferred = DeferredHistogram(
        "a_seconds", "Times.", ["model"], buckets=LATENCY_BUCKETS, registry=ours
    )
    reference = Histogram(
        "a_seconds", "Times.", ["model"], buckets=LATENCY_BUCKETS, registry=theirs
    )
    random = np.random.default_rng(0)
    values = [*random.exponential(0.01, 3 * WAITING + 7).tolist(), *LATENCY_BUCKETS, 99.0]
    for model, part in (("a", values), ("b", values[:5]), ("c", [])):
        bound, expected = deferred.labels(model), reference.labels(model)
        for value in part:
            bound.observe(value)
            expected.observe(value)

    def shown(registry: CollectorRegistry) -> dict[str, float]:
        lines = generate_latest(registry).decode().splitlines()
        rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in rows if "_created" not in name}

    for _ in range(2):  # a scrape changes nothing
        assert shown(ours) == pytest.approx(shown(theirs))
    assert "# TYPE a_seconds histogram" in generate_latest(ours).decode()


def test_one_observation_may_stand_for_several_requests() -> None:
    registry = CollectorRegistry()
    series = DeferredHistogram("a_seconds", "", ["m"], buckets=(0.1,), registry=registry).labels(
        "a"
    )
    series.observe(0.05, 3)
    series.observe(0.2)
    assert registry.get_sample_value("a_seconds_count", {"m": "a"}) == 4
    assert registry.get_sample_value("a_seconds_bucket", {"m": "a", "le": "0.1"}) == 3
    assert registry.get_sample_value("a_seconds_sum", {"m": "a"}) == pytest.approx(0.35)


def test_a_wrong_number_of_labels_is_an_error() -> None:
    histogram = DeferredHistogram("a", "", ["m"], buckets=(1.0,), registry=CollectorRegistry())
    with pytest.raises(ValueError, match="a has the labels"):
        histogram.labels("x", "y")


def test_a_coroutine_that_need_not_wait_sets_no_timer() -> None:
    async def ready() -> int:
        return 7

    async def run() -> int:
        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_at", lambda *_, **__: pytest.fail("a timer was set"))
            return await within(1.0, ready())

    assert asyncio.run(run()) == 7


def test_a_coroutine_that_waits_gets_its_results_and_ends_with_its_value() -> None:
    async def steps() -> list[int]:
        loop = asyncio.get_running_loop()
        found = []
        for number in range(3):
            future: asyncio.Future[int] = loop.create_future()
            loop.call_soon(future.set_result, number)
            found.append(await future)
            await asyncio.sleep(0)
        return found

    assert asyncio.run(within(5.0, steps())) == [0, 1, 2]


@pytest.mark.parametrize("waits_first", [False, True])
def test_an_error_of_the_coroutine_comes_through(waits_first: bool) -> None:
    async def fails() -> None:
        if waits_first:
            await asyncio.sleep(0)
        raise KeyError("a fault")

    with pytest.raises(KeyError, match="a fault"):
        asyncio.run(within(5.0, fails()))


def test_a_coroutine_that_waits_too_long_is_ended() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        asyncio.run(within(0.01, waits()))
    assert ended == [True]


def test_a_cancelled_caller_cancels_the_coroutine() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(True)
            raise

    async def run() -> None:
        task = asyncio.create_task(within(60.0, waits()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert ended == [True]
