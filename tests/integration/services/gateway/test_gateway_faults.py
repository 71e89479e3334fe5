"""Redis dies and hangs under load.

Every answer comes in time, with 200, and names what is missing. Nothing is lost.
"""

from __future__ import annotations

import signal
import socket
import time
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from dojo.core.state.clock import RedisWorldClock
from dojo.core.tasks.specs import load_spec
from feature_repo.online_layout import ViewLayout, entity_key
from services.gateway.features.breaker import FAILURES_TO_OPEN
from services.gateway.messages.requests import BODY_TIMEOUT_SECONDS
from tests.bench.load import post
from tests.integration.services.gateway.conftest import WORLD_NOW, StartGateway
from tests.support.gateways import Callers, GatewayServer, logged_predictions
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

DEADLINE = load_spec(Path("models/fraud_detection.yaml")).serving.deadline.total_seconds()
RECOVERY_SECONDS = 5.0


@pytest.mark.parametrize("fault", ["killed", "hanging"])
def test_every_answer_is_in_time_and_names_its_degradation_while_redis_is_away(
    fault: str, breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(breakable_redis.url)
    with Callers(gateway.port) as callers:
        wait_until(lambda: len(callers.calls) > 100, 20, "traffic flows")
        wait_until(lambda: callers.calls[-1].degraded == (), 5, "answers are whole")
        broken = time.monotonic()
        breakable_redis.kill() if fault == "killed" else breakable_redis.signal(signal.SIGSTOP)
        wait_until(
            lambda: len(callers.since(broken + 0.1)) > 300, 20, "traffic goes on without Redis"
        )
        unknown = gateway.predict(
            {"customer_id": "never seen", "merchant_id": "m1", "amount": 1.0}
        )[0]
        returned = time.monotonic()
        breakable_redis.start() if fault == "killed" else breakable_redis.signal(signal.SIGCONT)
        wait_until(
            lambda: any(call.degraded == () for call in callers.since(returned)),
            RECOVERY_SECONDS,
            "answers are whole again",
        )
        calls = callers.stop()

    assert not callers.dropped
    assert {call.status for call in calls} == {200}
    during = [call for call in calls if broken + 0.1 < call.sent < returned]
    # Redis, back again, may answer a call that still waits in the gateway.
    answered = [call for call in during if call.sent + call.seconds < returned]
    assert {call.degraded for call in answered} == {("features_last_known",)}
    assert unknown["degraded"] == ["features_default", "features_last_known"]
    # A call may wait for Redis as long as the deadline. The slowest call before shows what this
    # machine adds.
    slowest_before = max(call.seconds for call in calls if call.sent < broken)
    assert max(call.seconds for call in during) < slowest_before + 1.5 * DEADLINE
    sent = {call.request_id for call in calls} | {unknown["prediction_id"]}
    wait_until(lambda: gateway.health()["spooled_bytes"] == 0, 10, "the spool is drained")
    wait_until(
        lambda: len({e.request_id for e in logged_predictions(breakable_redis.url)}) >= len(sent),
        10,
        "all events arrive",
    )
    assert {event.request_id for event in logged_predictions(breakable_redis.url)} == sent


def test_only_the_first_requests_pay_for_a_hanging_redis(
    breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(breakable_redis.url)
    instance = {"customer_id": "c1", "merchant_id": "m1", "amount": 1.0}
    wait_until(lambda: gateway.predict(instance)[0]["degraded"] is None, 5, "answers are whole")
    before = slow_lookups(gateway)
    breakable_redis.signal(signal.SIGSTOP)
    for _ in range(60):
        gateway.predict(instance)
    assert gateway.metric("dojo_gateway_breaker_open") == 1
    assert (
        5 <= slow_lookups(gateway) - before <= 10
    )  # 5 open the breaker; a busy machine may slow a few more
    breakable_redis.signal(signal.SIGCONT)
    wait_until(
        lambda: gateway.metric("dojo_gateway_breaker_open") == 0,
        RECOVERY_SECONDS,
        "the breaker closes by itself",
    )


def test_events_spooled_by_a_gateway_that_stopped_are_delivered_by_the_next(
    breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(breakable_redis.url)
    breakable_redis.kill()
    sent = {
        gateway.predict(
            {"request_id": f"tx-{n}", "customer_id": "c1", "merchant_id": "m1", "amount": 1.0}
        )[0]["prediction_id"]
        for n in range(50)
    }
    assert gateway.stop() == 0
    spooled = list((gateway.home / "gateway" / "spool").glob("*.jsonl"))
    assert sum(len(path.read_bytes().splitlines()) for path in spooled) == 50

    breakable_redis.start()
    start_gateway(breakable_redis.url)
    wait_until(
        lambda: len(logged_predictions(breakable_redis.url)) >= 50, 10, "the spool is drained"
    )
    assert {event.prediction_id for event in logged_predictions(breakable_redis.url)} == sent
    # A segment is deleted after Redis has confirmed all of it.
    wait_until(
        lambda: not list((gateway.home / "gateway" / "spool").glob("*.jsonl")),
        10,
        "its segment is deleted",
    )


def test_a_gateway_started_while_redis_is_down_serves_and_finds_redis_when_it_comes(
    breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    breakable_redis.kill()
    gateway = start_gateway(breakable_redis.url)
    instance = {"customer_id": "c1", "merchant_id": "m1", "amount": 1.0}
    assert gateway.predict(instance)[0]["degraded"] == ["features_default", "world_clock_unset"]
    breakable_redis.start()
    wait_until(
        lambda: gateway.predict(instance)[0]["degraded"] is None,
        RECOVERY_SECONDS,
        "answers are whole",
    )


def test_beyond_the_spools_bound_events_are_dropped_and_counted(
    breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(breakable_redis.url, spool_max_bytes=1_048_576)  # about 700 events
    breakable_redis.kill()
    batch = [{"customer_id": "c1", "merchant_id": "m1", "amount": 1.0}] * 500
    for _ in range(3):
        gateway.predict(*batch)
    wait_until(lambda: gateway.health()["buffered_events"] == 0, 20, "the buffer is on disk")
    dropped = gateway.metric("dojo_prediction_log_dropped_total")
    assert 0 < gateway.health()["spooled_bytes"] <= 1_048_576
    assert 0 < dropped < 1500
    breakable_redis.start()
    wait_until(lambda: gateway.health()["spooled_bytes"] == 0, 20, "the spool is drained")
    assert len(logged_predictions(breakable_redis.url)) == 1500 - dropped


def slow_lookups(gateway: GatewayServer) -> float:
    """Return the number of feature lookups over 20 ms, which waited for their timeout."""
    name = "dojo_gateway_layer_seconds"
    within = gateway.metric(f"{name}_bucket", layer="lookup", le="0.02", model="fraud_detection")
    return gateway.metric(f"{name}_count", layer="lookup", model="fraud_detection") - within


def test_beyond_what_can_be_answered_in_time_requests_are_shed(
    breakable_redis: RedisServer, start_gateway: StartGateway, tmp_path: Path
) -> None:
    specs = tmp_path / "models"
    specs.mkdir()
    patient = (
        Path("models/fraud_detection.yaml").read_text().replace("deadline: 100ms", "deadline: 5s")
    )
    (specs / "fraud_detection.yaml").write_text(
        patient.replace("feature_timeout: 30ms", "feature_timeout: 3s")
    )
    limit = 30
    gateway = start_gateway(breakable_redis.url, models_dir=specs, max_in_flight=limit)
    instance = {"customer_id": "c1", "merchant_id": "m1", "amount": 1.0}
    wait_until(lambda: gateway.predict(instance)[0]["degraded"] is None, 5, "answers are whole")
    breakable_redis.signal(signal.SIGSTOP)  # requests now wait for 3 s and pile up
    sockets = [
        socket.create_connection(("127.0.0.1", gateway.port), timeout=10) for _ in range(limit + 20)
    ]
    for connection in sockets:
        connection.sendall(post("/v1/models/fraud_detection:predict", {"instances": [instance]}))
    answers = [connection.recv(65536) for connection in sockets]
    shed = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]
    assert len(shed) == 20
    assert all(b"retry-after: 1" in answer.lower() for answer in shed)
    assert sum(answer.startswith(b"HTTP/1.1 200") for answer in answers) == limit
    assert (
        gateway.metric("dojo_gateway_shed_requests_total", model="fraud_detection", reason="full")
        == 20
    )
    for connection in sockets:
        connection.close()


def test_half_a_request_is_ended(breakable_redis: RedisServer, start_gateway: StartGateway) -> None:
    gateway = start_gateway(breakable_redis.url)
    with socket.create_connection(
        ("127.0.0.1", gateway.port), timeout=2 * BODY_TIMEOUT_SECONDS
    ) as connection:
        whole = post("/v1/models/fraud_detection:predict", {"instances": []})
        connection.sendall(whole[:-1])
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_batch_features_beyond_their_sla_are_counted_and_streaming_ones_are_not(
    breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    RedisWorldClock(Redis.from_url(breakable_redis.url)).set(WORLD_NOW + timedelta(days=3), 0.0)
    gateway = start_gateway(breakable_redis.url)
    instance = {"customer_id": "c1", "merchant_id": "m1", "amount": 1.0}
    wait_until(lambda: gateway.predict(instance)[0]["degraded"] is None, 5, "answers are whole")
    assert gateway.metric("dojo_gateway_stale_features_total", view="customer_daily") >= 1
    assert gateway.metric("dojo_gateway_stale_features_total", view="merchant_daily") >= 1
    assert gateway.metric("dojo_gateway_stale_features_total", view="customer_activity") == 0


def test_a_row_of_another_catalogue_makes_its_entity_unknown_and_is_counted(
    breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    others = ViewLayout("customer_daily", ["weight", "shoe_size"])
    redis = Redis.from_url(breakable_redis.url)
    redis.hset(
        entity_key("customer", "c1"), others.field.decode(), others.pack(WORLD_NOW, [1.0, 2.0])
    )
    gateway = start_gateway(breakable_redis.url)
    instances = [
        {"customer_id": customer, "merchant_id": "m1", "amount": 1.0} for customer in ("c1", "c2")
    ]
    wait_until(lambda: gateway.predict(instances[1])[0]["degraded"] is None, 5, "answers are whole")
    for _ in range(FAILURES_TO_OPEN + 1):
        assert [answer["degraded"] for answer in gateway.predict(*instances)] == [
            ["cold_start"],
            None,
        ]
    assert gateway.metric("dojo_gateway_malformed_rows_total") == FAILURES_TO_OPEN + 1
    assert gateway.metric("dojo_gateway_breaker_open") == 0
