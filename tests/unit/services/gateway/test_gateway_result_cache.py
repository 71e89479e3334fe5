"""A repeated result is the fresh one of an earlier time, and never one of another version."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.registry.bundle import OnnxScorer
from dojo.core.spec.serving import CacheRules
from dojo.core.state.draws import Draw
from services.gateway.features.lookup import FeatureSource
from services.gateway.features.online_store import (
    EntityFields,
    EntityRow,
    OnlineStoreUnavailableError,
)
from services.gateway.metrics import GatewayMetrics
from services.gateway.versions.arms import ServedRoute, served_route
from services.gateway.versions.batches import Scoring
from services.gateway.versions.scoring import ArmScorer
from services.gateway.versions.serving import ServedModel
from tests.unit.services.gateway.test_gateway_batches import BUNDLE, REFUSED, SPEC, route

KEEP, ROWS = 60.0, 12
# A busy machine must not turn a slow look-up into a degraded answer.
PATIENT = SPEC.serving.model_copy(
    update={"feature_timeout": timedelta(seconds=30), "deadline": timedelta(seconds=60)}
)
CACHING = SPEC.model_copy(
    update={
        "result_cache": CacheRules(keep=timedelta(seconds=KEEP), rows=ROWS),
        "serving": PATIENT,
    }
)
AWAY = ("features_default", "features_last_known")  # the merchant is known
FEATURES = ("amount", "customer_amount_mean_30d")


class RefreshedStore:
    """Every entity has the same value, until it is refreshed."""

    def __init__(self) -> None:
        self.value, self.reads, self.is_away = 0.1, 0, False
        self.strangers: set[str] = set()

    async def read(
        self, wanted: Sequence[tuple[EntityFields, str]], timeout: float
    ) -> list[EntityRow]:
        self.reads += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise OnlineStoreUnavailableError("away")
        return [
            fields.unknown
            if key in self.strangers
            else EntityRow((self.value,) * len(fields.features), (1.0,) * len(fields.views))
            for fields, key in wanted
        ]


class SumScorer:
    """Half the sum of a row. Refuses rows with the amount REFUSED."""

    def score(self, rows: np.ndarray) -> np.ndarray:
        scores = np.asarray(rows.sum(axis=1) / 2, dtype=np.float64)
        scores[np.isclose(rows[:, 0], REFUSED)] = np.nan  # out of the task's bounds
        return scores


def version(number: str) -> ServedModel:
    bundle = msgspec.structs.replace(BUNDLE, features=FEATURES)
    return ServedModel(CACHING, number, number, bundle, cast("OnnxScorer", SumScorer()))


class Shop:
    """Requests to a scorer with a cache. Time is what a test says."""

    def __init__(self) -> None:
        self.store, self.metrics = RefreshedStore(), GatewayMetrics()
        self.scorer = ArmScorer(CACHING, FeatureSource(self.store), self.metrics, ("amount",))
        self.route = route(version("1"))

    async def ask(
        self,
        *amounts: float,
        customer: str = "c",
        now: float | None = 0.0,
        moment: float | None = None,
        by: ServedRoute | None = None,
        request_id: str = "",
    ) -> list[Scoring]:
        keys = [{"customer": customer, "merchant": "m"}] * len(amounts)
        time = moment if moment is not None else now or 0.0
        inputs = [{"amount": amount, "transaction_time": time} for amount in amounts]
        started = asyncio.get_running_loop().time()
        ids = [request_id] * len(amounts)
        return await self.scorer.score(by or self.route, keys, inputs, started, ids, now)

    def count(self, outcome: str) -> float:
        labels = {"model": SPEC.name, "outcome": outcome}
        name = "dojo_gateway_result_cache_requests_total"
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def removed(self, reason: str) -> float:
        labels = {"model": SPEC.name, "reason": reason}
        name = "dojo_gateway_result_cache_removed_total"
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def rows(self) -> float:
        labels = {"model": SPEC.name}
        name = "dojo_gateway_result_cache_rows"
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def ages(scorings: Sequence[Scoring]) -> set[float | None]:
    return {one.cached_seconds for one in scorings}


amounts = st.lists(st.sampled_from((0.2, 0.4, REFUSED)), min_size=1, max_size=3)
steps = st.lists(
    st.tuples(
        amounts,
        st.sampled_from(("a", "b", "stranger")),
        st.sampled_from((0.0, 1.0, 20.0, 45.0)),  # world seconds since the step before
        st.booleans(),  # refresh the features first
    ),
    min_size=1,
    max_size=25,
)


@given(steps)
def test_a_repeated_answer_is_the_fresh_one_of_its_said_age(
    steps: list[tuple[list[float], str, float, bool]],
) -> None:
    async def run() -> None:
        shop, now = Shop(), 0.0
        shop.store.strangers.add("stranger")
        computed: dict[tuple[float, ...], list[tuple[float, list[float]]]] = {}
        for asked, customer, waited, refresh in steps:
            now += waited
            shop.store.value += 0.01 * refresh
            found = await shop.ask(*asked, customer=customer, now=now)
            (age,) = ages(found)
            scores = [one.score for one in found]
            earlier = computed.setdefault((*asked, hash(customer)), [])
            if age is None:
                value = 0.0 if customer == "stranger" else shop.store.value
                expected = [0.0 if a == REFUSED else (a + value) / 2 for a in asked]
                assert scores == pytest.approx(expected)
                earlier.append((now, scores))
            else:
                assert 0 <= age <= KEEP
                assert (now - age, scores) in earlier
                assert customer != "stranger"
                assert REFUSED not in asked
                assert all(one.by is one.chosen is shop.route.live[0] for one in found)
            assert shop.rows <= ROWS
        assert shop.count("hit") + shop.count("miss") == len(steps)

    asyncio.run(run())


def test_a_hit_needs_no_features_and_no_model() -> None:
    async def run() -> None:
        shop = Shop()
        first, again = await shop.ask(0.2, 0.4), await shop.ask(0.2, 0.4, now=30.0)
        assert (ages(first), ages(again)) == ({None}, {30.0})
        assert shop.store.reads == 1
        assert [(one.score, one.row, one.seconds) for one in again] == [
            (one.score, one.row, one.seconds) for one in first
        ]

    asyncio.run(run())


@pytest.mark.parametrize(
    "other",
    [
        {"amounts": (0.4, 0.2)},  # ranks are places in the request
        {"amounts": (0.2,)},
        {"amounts": (0.2, 0.4, 0.4)},
        {"customer": "d"},
        {"now": KEEP + 1},
        {"now": None},  # the world's clock is not known
        {"now": 30.0, "moment": -1.0},  # about an earlier time, which knew less
        {"now": 1.0, "moment": KEEP + 1},  # about a later time, from a caller who may say it
        {"now": KEEP + 1, "moment": 1.0},  # about the same time, and asked too late
    ],
    ids=str,
)
def test_another_request_or_time_is_answered_anew(other: dict[str, object]) -> None:
    async def run() -> None:
        shop = Shop()
        await shop.ask(0.2, 0.4)
        shop.store.value = 0.5
        sent = cast("tuple[float, ...]", other.pop("amounts", (0.2, 0.4)))
        found = await shop.ask(*sent, **other)  # type: ignore[arg-type]
        assert ages(found) == {None}
        assert [one.score for one in found] == pytest.approx([(a + 0.5) / 2 for a in sent])

    asyncio.run(run())


def test_instances_of_different_times_are_not_repeated() -> None:
    async def run() -> None:
        shop = Shop()
        keys = [{"customer": "c", "merchant": "m"}] * 2
        inputs = [{"amount": 0.2, "transaction_time": time} for time in (0.0, 1.0)]
        for _ in range(2):
            found = await shop.scorer.score(shop.route, keys, inputs, 0.0, now=0.0)
            assert ages(found) == {None}

    asyncio.run(run())


def test_a_route_with_other_arms_ends_all_results_and_the_request_in_flight_keeps_none() -> None:
    async def run() -> None:
        shop = Shop()
        await shop.ask(0.2)
        before = shop.route
        # The same route and version, and another bundle: the registry was rebuilt.
        shop.route = served_route(before.route, [version("1")])
        late = asyncio.ensure_future(shop.ask(0.4, by=before))
        await asyncio.sleep(0)  # it waits for its features
        assert ages(await shop.ask(0.2)) == {None}
        await late
        assert ages(await shop.ask(0.4)) == {None}
        assert shop.removed("route") == 1
        assert ages(await shop.ask(0.4, by=shop.route.pinned())) == {0.0}

    asyncio.run(run())


def test_each_request_is_drawn_anew_and_gets_a_result_of_its_own_arm() -> None:
    async def run() -> None:
        shop = Shop()
        described = msgspec.structs.replace(
            route(version("1"), version("2"), weights=(0.7, 0.3)).route,
            strategy="bandit",
            draw=Draw(sticky=False),
        )
        shop.route = served_route(described, [version("1"), version("2")])
        for n in range(50):
            (one,) = await shop.ask(0.2, request_id=f"r{n}")
            chosen, propensity = shop.route.choose("c", f"r{n}")
            assert one.by is one.chosen is chosen
            assert one.propensity == propensity
        assert shop.count("miss") == 2, "one for each arm"

    asyncio.run(run())


def test_degraded_answers_are_never_repeated() -> None:
    async def run() -> None:
        shop = Shop()
        shop.store.strangers.add("new")
        for _ in range(2):
            (one,) = await shop.ask(0.2, customer="new")
            assert (one.cached_seconds, one.stored.degraded) == (None, ("cold_start",))
        shop.store.is_away = True
        for _ in range(2):
            (one,) = await shop.ask(0.2, customer="c")
            assert (one.cached_seconds, one.stored.degraded) == (None, AWAY)
        assert shop.rows == 0

    asyncio.run(run())


def test_memory_is_bounded_and_the_least_recently_used_result_makes_room() -> None:
    async def run() -> None:
        shop = Shop()
        await shop.ask(*[0.1] * (ROWS + 1))
        assert shop.rows == 0, "too large to keep"
        for customer in "abc":
            await shop.ask(*[0.1] * 4, customer=customer)
        await shop.ask(*[0.1] * 4, customer="a", now=1.0)
        await shop.ask(*[0.1] * 4, customer="d", now=1.0)
        assert (shop.rows, shop.removed("full")) == (ROWS, 1)
        found = {
            customer: ages(await shop.ask(*[0.1] * 4, customer=customer, now=2.0))
            for customer in "acdb"
        }
        assert found == {"a": {2.0}, "c": {2.0}, "d": {1.0}, "b": {None}}

    asyncio.run(run())


def test_an_old_result_leaves_its_room_when_it_is_asked_for() -> None:
    async def run() -> None:
        shop = Shop()
        await shop.ask(0.1, 0.2)
        shop.store.is_away = True
        await shop.ask(0.1, 0.2, now=KEEP + 1)
        assert (shop.rows, shop.removed("expired")) == (0, 1)

    asyncio.run(run())
