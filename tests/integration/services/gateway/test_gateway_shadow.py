"""Shadows: a challenger's answers beside the callers' answers, unnoticed by callers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from dojo.core.events.types import Prediction
from dojo.core.registry.bundle import load_bundle
from services.gateway.routing.shadow import BUFFERED
from services.gateway.versions.sandboxes import PRIORITIES
from tests.integration.services.gateway.conftest import StartGateway
from tests.integration.services.gateway.test_gateway_sandbox import (
    DEADLINE,
    sandbox_of,
    slowest_tenth,
)
from tests.support.gateways import (
    MODEL,
    Callers,
    GatewayServer,
    champion_and,
    generation,
    logged_predictions,
    logged_shadows,
    set_route,
)
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

Versions = dict[str, tuple[Path, str]]
INSTANCES = [
    {
        "request_id": f"tx-{n}",
        "customer_id": f"c{n % 5}",
        "merchant_id": f"m{n % 5}",
        "amount": 7.0 * n + 1,
    }
    for n in range(120)
]


def shadowed(
    redis: RedisServer, start_gateway: StartGateway, versions: Versions, shadow: str
) -> GatewayServer:
    """Start a gateway that serves version 1 and mirrors to a shadow."""
    gateway = start_gateway(
        redis.url, versions={version: versions[version] for version in ("1", shadow)}
    )
    set_route(redis.url, "shadow", *champion_and(shadow))
    wait_until(lambda: generation(gateway) == 1, 20, "the shadow is there")
    return gateway


def whole(gateway: GatewayServer, instance: dict[str, Any]) -> dict[str, Any]:
    """Return a complete answer. A busy machine may need a few tries."""
    for _ in range(50):
        (answer,) = gateway.predict(instance)
        if answer["degraded"] is None:
            return answer
    raise AssertionError(f"no whole answer in 50 tries, the last one lacks {answer['degraded']}")


def scores_by_hand(version: Path, events: list[Prediction]) -> dict[str, float]:
    """Return a version's scores for the logged features, by prediction."""
    bundle, scorer = load_bundle(version)
    rows = np.array(
        [[event.features[name] for name in bundle.features] for event in events], dtype=np.float32
    )
    return dict(
        zip([event.prediction_id for event in events], scorer.score(rows).tolist(), strict=True)
    )


@pytest.mark.parametrize("shadow", ["2", "6"], ids=["same features", "features of its own"])
def test_every_request_is_mirrored_with_both_scores_and_the_answers_stay_the_champions(
    shadow: str, breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = start_gateway(
        breakable_redis.url, versions={version: versions[version] for version in ("1", shadow)}
    )
    alone = [whole(gateway, instance) for instance in INSTANCES]
    set_route(breakable_redis.url, "shadow", *champion_and(shadow))
    wait_until(lambda: generation(gateway) == 1, 20, "the shadow is there")
    answers = [
        *gateway.predict(*INSTANCES[:60]),
        *(gateway.predict(instance)[0] for instance in INSTANCES[60:]),
    ]
    assert {(answer["version"], answer["arm"]) for answer in answers} == {("1", "champion")}
    for before, answer in zip(alone, answers, strict=True):
        if answer["degraded"] is None:  # a busy machine may cost an answer its stored features
            assert (answer["score"], answer["flagged"]) == (before["score"], before["flagged"])
    assert any(answer["degraded"] is None for answer in answers)

    wait_until(
        lambda: len(logged_shadows(breakable_redis.url)) == len(INSTANCES), 10, "all are mirrored"
    )

    def mirrored_predictions() -> list[Prediction]:
        return [
            event
            for event in logged_predictions(breakable_redis.url)
            if event.route_generation == 1
        ]

    wait_until(lambda: len(mirrored_predictions()) == len(INSTANCES), 10, "all are logged")
    predictions = mirrored_predictions()
    by_hand = scores_by_hand(versions[shadow][0], predictions)
    by_id = {event.prediction_id: event for event in predictions}
    threshold = load_bundle(versions[shadow][0])[0].decision["threshold"]
    for event in logged_shadows(breakable_redis.url):
        answered = by_id[event.prediction_id]
        assert event.score == pytest.approx(by_hand[event.prediction_id], abs=1e-6)
        assert event.flagged == (event.score >= threshold)
        assert (event.version, event.route_generation, event.error) == (shadow, 1, "")
        assert (event.champion_version, event.champion_score, event.champion_flagged) == (
            "1",
            answered.score,
            answered.flagged,
        )
        assert event.request_id == answered.request_id
        assert event.world_time == answered.world_time
        assert 0 < event.scoring_seconds < 1
        assert 0 < event.champion_scoring_seconds < 1
    assert (
        gateway.metric("dojo_gateway_shadow_dropped_total", model=MODEL, reason="buffer_full") == 0
    )


def test_a_shadow_that_fails_is_an_event_with_its_error_and_nobody_notices(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = shadowed(breakable_redis, start_gateway, versions, "7")  # raises from 50 euros
    answers = gateway.predict(*INSTANCES)
    assert {answer["version"] for answer in answers} == {"1"}
    assert not any("arm_failed" in (answer["degraded"] or ()) for answer in answers)
    wait_until(
        lambda: len(logged_shadows(breakable_redis.url)) == len(INSTANCES), 10, "all are mirrored"
    )
    amounts = {instance["request_id"]: instance["amount"] for instance in INSTANCES}
    for event in logged_shadows(breakable_redis.url):
        fails = amounts[event.request_id] >= 50
        assert (event.score is None, event.flagged is None) == (fails, fails)
        assert event.error.startswith("error: InvalidArgument") == fails


def test_a_shadow_that_dies_is_replaced_and_tells_so(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = shadowed(breakable_redis, start_gateway, versions, "2")
    sandbox = sandbox_of(gateway)
    assert sandbox is not None
    assert sandbox.nice() == os.nice(0) + PRIORITIES["shadow"].niceness
    with Callers(gateway.port) as callers:
        wait_until(
            lambda: len(logged_shadows(breakable_redis.url)) > 50, 10, "requests are mirrored"
        )
        sandbox.send_signal(signal.SIGKILL)
        wait_until(
            lambda: any(e.error for e in logged_shadows(breakable_redis.url)),
            10,
            "its death is in the events",
        )
        failed = len(logged_shadows(breakable_redis.url))
        wait_until(
            lambda: any(e.score is not None for e in logged_shadows(breakable_redis.url)[failed:]),
            20,
            "it scores again",
        )
        calls = callers.stop()
    assert not callers.dropped
    assert {(call.status, call.version, call.arm) for call in calls} == {(200, "1", "champion")}
    assert not any("arm_failed" in call.degraded for call in calls)
    assert {event.error for event in logged_shadows(breakable_redis.url)} <= {"", "crashed", "down"}


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["crashing", "hanging"])
def test_a_shadow_that_crashes_or_hangs_changes_no_answer_and_delays_none(
    fault: signal.Signals,
    breakable_redis: RedisServer,
    start_gateway: StartGateway,
    versions: Versions,
) -> None:
    gateway = shadowed(breakable_redis, start_gateway, versions, "2")
    expected = {
        n: whole(gateway, {"customer_id": f"c{n}", "merchant_id": f"m{n}", "amount": 5.0})["score"]
        for n in range(5)
    }
    with Callers(gateway.port) as callers:
        wait_until(
            lambda: len(logged_shadows(breakable_redis.url)) > 50, 10, "requests are mirrored"
        )
        sandbox = sandbox_of(gateway)
        assert sandbox is not None
        broken = time.monotonic()
        sandbox.send_signal(fault)
        wait_until(lambda: len(callers.since(broken)) > 300, 30, "traffic goes on")
        assert not sandbox.is_running() or sandbox.status() in (
            psutil.STATUS_STOPPED,
            psutil.STATUS_ZOMBIE,
        )
        calls = callers.stop()
    assert not callers.dropped
    assert {(call.status, call.version) for call in calls} == {(200, "1")}
    # A healthy shadow is the measure, so a busy machine decides nothing. A delay by the shadow
    # would be its deadline.
    before = slowest_tenth([call for call in calls if call.sent < broken])
    assert slowest_tenth([call for call in calls if call.sent > broken]) < before + 0.5 * DEADLINE
    assert not any("arm_failed" in call.degraded for call in calls)
    whole_answers = [call for call in calls if not call.degraded and call.sent > broken]
    assert whole_answers
    for call in whole_answers:
        assert call.score == expected[int(call.request_id.rpartition("-")[2]) % 5]


def test_a_shadow_that_cannot_keep_up_loses_mirrored_requests_and_counts_them(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = shadowed(breakable_redis, start_gateway, versions, "4")  # 0.3 s a row
    batch = [{"customer_id": f"c{n % 5}", "merchant_id": "m1", "amount": 5.0} for n in range(500)]
    for _ in range(BUFFERED // 500 + 2):
        assert {answer["version"] for answer in gateway.predict(*batch)} == {"1"}
    assert (
        gateway.metric("dojo_gateway_shadow_dropped_total", model=MODEL, reason="buffer_full") > 0
    )
    assert gateway.metric("dojo_gateway_shadow_buffered", model=MODEL) <= BUFFERED


def test_without_redis_shadows_are_dropped_and_counted_and_no_prediction_is(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = shadowed(breakable_redis, start_gateway, versions, "2")
    gateway.predict(*INSTANCES[:10])
    wait_until(lambda: len(logged_shadows(breakable_redis.url)) == 10, 10, "ten are mirrored")
    breakable_redis.kill()
    answers = gateway.predict(*INSTANCES)
    assert {answer["version"] for answer in answers} == {"1"}

    def dropped() -> float:
        return gateway.metric("dojo_gateway_shadow_dropped_total", model=MODEL, reason="redis_away")

    wait_until(lambda: dropped() == len(INSTANCES), 10, "shadows are dropped")
    breakable_redis.start()
    wait_until(
        lambda: len(logged_predictions(breakable_redis.url)) == len(INSTANCES) + 10,
        10,
        "predictions all arrive",
    )
    assert len(logged_shadows(breakable_redis.url)) == 10
