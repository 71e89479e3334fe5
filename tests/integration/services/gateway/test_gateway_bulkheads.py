"""A slow version has a process of its own. Its faults and its queue cost other models nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from redis import Redis

from dojo.core.state.error_budget import Budget, read_budgets
from dojo.core.state.routes import CHAMPION_ARM, Arm
from dojo.core.tasks.specs import load_spec
from services.gateway.sandbox.sandbox import SLOW_NICENESS
from tests.bench.load import post
from tests.integration.services.gateway.conftest import WORLD_NOW
from tests.integration.services.gateway.test_gateway_sandbox import sandboxes_of
from tests.support.bundles import cache_bundle, make_slow_bundle
from tests.support.gateways import MODEL, GatewayServer, generation, set_route
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

SPEC = load_spec(Path(f"models/{MODEL}.yaml"))
SLOW = "slow_model"
# Slow for amounts from this one on, euros, and so fast when it is loaded.
MOODY, LARGE = "moody_model", 50.0
# As slow, but a run takes as long for many rows as for one.
SHARING = "sharing_model"
ROW_SECONDS, DEADLINE_SECONDS = 0.1, 1.0
SHARE, MAX_IN_FLIGHT = 0.1, 50
INSTANCE = {"customer_id": "c1", "merchant_id": "m1", "amount": 5.0}


@pytest.fixture(scope="module")
def gateway(
    online_redis: RedisServer, bundle: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayServer]:
    """Start a gateway with a fast and a slow model."""
    directory = tmp_path_factory.mktemp("bulkheads")
    specs = directory / "models"
    specs.mkdir()
    spec = Path(f"models/{MODEL}.yaml").read_text()
    (specs / f"{MODEL}.yaml").write_text(spec)
    for line, changed in (
        (f"name: {MODEL}", f"name: {SLOW}"),
        ("latency_class: fast", "latency_class: batch"),
        ("concurrency_share: 1.0", f"concurrency_share: {SHARE}"),
        ("deadline: 100ms", f"deadline: {DEADLINE_SECONDS:g}s"),
    ):
        assert line in spec
        spec = spec.replace(line, changed)
    (specs / f"{SLOW}.yaml").write_text(spec)
    server = GatewayServer(
        directory, online_redis.url, models_dir=specs, max_in_flight=MAX_IN_FLIGHT
    )
    cache_bundle(server.home, *bundle)
    (specs / f"{MOODY}.yaml").write_text(spec.replace(f"name: {SLOW}", f"name: {MOODY}"))
    shared = "deadline: 1s\n  batching: {wait: 15ms, rows: 16}"
    sharing = spec.replace(f"name: {SLOW}", f"name: {SHARING}").replace("deadline: 1s", shared)
    sharing = sharing.replace(f"concurrency_share: {SHARE}", "concurrency_share: 1.0")
    (specs / f"{SHARING}.yaml").write_text(sharing)
    for model, slow_from in ((SLOW, -10.0), (MOODY, LARGE), (SHARING, -10.0)):
        made = make_slow_bundle(directory / model, ROW_SECONDS, slow_from, model)
        cache_bundle(server.home, directory / model, made, model=model)
    server.start()
    wait_until(lambda: server.predict(INSTANCE)[0]["degraded"] is None, 10, "Redis is found")
    yield server
    server.stop()


def children_of(gateway: GatewayServer, model: str) -> list[psutil.Process]:
    assert gateway.process is not None
    children = sandboxes_of(gateway.process.pid)
    return [child for child in children if f"/{model}/" in " ".join(child.cmdline())]


def child_of(gateway: GatewayServer) -> psutil.Process:
    (child,) = children_of(gateway, SLOW)
    return child


def processor_seconds(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def budget_of(redis: RedisServer, model: str) -> Budget:
    """Return the availability budget that the gateway has written."""
    spec = SPEC.model_copy(update={"name": model})
    return read_budgets(Redis.from_url(redis.url), spec, WORLD_NOW)[0]


def scores(gateway: GatewayServer) -> bool:
    """Return whether the slow version scores in time."""
    return gateway.predict(INSTANCE, model=SLOW)[0]["version"] == "1"


def failures(gateway: GatewayServer, reason: str) -> float:
    """Return the rows of the slow model without a score."""
    labels = {"model": SLOW, "arm": "champion", "reason": reason}
    return gateway.metric("dojo_gateway_arm_failed_total", **labels)


def looked_up(gateway: GatewayServer) -> float:
    """Return the requests to the slow model whose features are known."""
    labels = {"layer": "lookup", "model": SLOW}
    return gateway.metric("dojo_gateway_layer_seconds_count", **labels)


def test_a_slow_champion_scores_in_a_process_of_its_own_behind_the_gateway(
    gateway: GatewayServer, online_redis: RedisServer
) -> None:
    assert gateway.health()["models"][SLOW]["version"] == "1"
    assert gateway.process is not None
    own = psutil.Process(gateway.process.pid).nice()
    assert child_of(gateway).nice() == own + SLOW_NICENESS
    for model in (MODEL, SLOW):
        assert gateway.predict(INSTANCE, model=model)[0]["version"] == "1"
    before = child_of(gateway).pid
    set_route(online_redis.url, "champion", Arm(CHAMPION_ARM, "1", 1.0), model=SLOW)
    wait_until(lambda: generation(gateway, SLOW) == 1, 10, "its route serves")
    assert child_of(gateway).pid == before, "the same version keeps its process"


def test_requests_that_may_wait_share_a_run_of_the_slow_process(gateway: GatewayServer) -> None:
    """One after the other, they would take more than twice the deadline."""
    requests = int(2 * DEADLINE_SECONDS / ROW_SECONDS)
    with ThreadPoolExecutor(requests) as pool:
        asked = [pool.submit(gateway.predict, INSTANCE, model=SHARING) for _ in range(requests)]
        answers = [one.result()[0] for one in asked]
    assert {(answer["version"], answer["degraded"]) for answer in answers} == {("1", None)}
    rows, batches = (
        gateway.metric(f"dojo_gateway_batch_rows_{what}", model=SHARING)
        for what in ("sum", "count")
    )
    assert rows == requests
    assert batches <= requests / 2


def test_a_row_without_a_chance_in_time_gets_the_fallback_at_once(gateway: GatewayServer) -> None:
    stopped, few = child_of(gateway), 3
    used = processor_seconds(stopped)
    gateway.predict(*[INSTANCE] * few, model=SLOW)
    a_row = (processor_seconds(stopped) - used) / few
    wait_until(lambda: scores(gateway), 10, "none of them waits any more")
    late = failures(gateway, "timeout")
    stopped.suspend()  # nothing is scored, so the queue keeps its length
    long_enough = int(2 * DEADLINE_SECONDS / ROW_SECONDS)
    with ThreadPoolExecutor() as pool:
        before, full = looked_up(gateway), failures(gateway, "queue_full")
        first = pool.submit(gateway.predict, *[INSTANCE] * long_enough, model=SLOW)
        # In one turn with its lookup, its rows join the queue.
        wait_until(lambda: looked_up(gateway) > before, 5, "it waits")
        second = gateway.predict(INSTANCE, model=SLOW)[0]
        assert second["degraded"] == ["arm_failed", "model_unavailable"]
        assert failures(gateway, "queue_full") == full + 1, "it did not wait for its deadline"
        assert {answer["version"] for answer in first.result()} == {"0"}
    assert failures(gateway, "timeout") == late + long_enough
    used = processor_seconds(stopped)
    stopped.resume()
    wait_until(lambda: scores(gateway), 10, "it scores again")
    scored = (processor_seconds(stopped) - used) / a_row
    assert scored < long_enough / 2, "the rows past their deadline are not scored"


def test_a_model_over_its_share_is_refused_and_only_its_own_error_budget_pays(
    gateway: GatewayServer, online_redis: RedisServer
) -> None:
    share, beyond = int(SHARE * MAX_IN_FLIGHT), 3
    stopped = child_of(gateway)
    stopped.suspend()
    sockets = [
        socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
        for _ in range(share + beyond)
    ]
    for connection in sockets:
        connection.sendall(post(f"/v1/models/{SLOW}:predict", {"instances": [INSTANCE]}))
    assert gateway.predict(INSTANCE)[0]["version"] == "1"
    answers = [connection.recv(65536) for connection in sockets]
    stopped.resume()
    for connection in sockets:
        connection.close()
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]
    assert len(refused) == beyond
    assert all(b"5 requests of slow_model" in answer for answer in refused)
    assert gateway.metric("dojo_gateway_shed_requests_total", model=SLOW, reason="share") == beyond
    wait_until(lambda: budget_of(online_redis, SLOW).bad == beyond, 10, "they count")
    assert budget_of(online_redis, SLOW).counted > share
    assert budget_of(online_redis, MODEL).bad == 0


def test_a_slow_models_process_that_stands_still_is_replaced_and_stops_no_other_model(
    gateway: GatewayServer,
) -> None:
    stopped = child_of(gateway)
    stopped.suspend()
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(gateway.predict, INSTANCE, model=SLOW)
        while not slow.done():
            assert gateway.predict(INSTANCE)[0]["version"] == "1"
        assert slow.result()[0]["degraded"] == ["arm_failed", "model_unavailable"]
    wait_until(lambda: scores(gateway), 20, "a new process scores")
    assert child_of(gateway).pid != stopped.pid


def test_a_version_that_turns_out_slow_is_put_into_a_process_of_its_own(
    gateway: GatewayServer,
) -> None:
    assert gateway.predict(INSTANCE, model=MOODY)[0]["version"] == "1"
    assert not children_of(gateway, MOODY)
    large = {**INSTANCE, "amount": LARGE}
    score = gateway.predict(large, model=MOODY)[0]["score"]
    wait_until(
        lambda: (
            gateway.health()["models"][MOODY]["route"]["arms"][0]["state"] == "ok"
            and len(children_of(gateway, MOODY)) == 1
        ),
        20,
        "it has a process",
    )
    child = children_of(gateway, MOODY)[0]
    wait_until(lambda: child.cpu_percent(0.1) == 0, 20, "it has started, and rests")
    used = processor_seconds(child)
    wait_until(
        lambda: (
            gateway.predict(large, model=MOODY)[0]["score"] == score
            and processor_seconds(child) > used
        ),
        10,
        "the process computes the same score",
    )
