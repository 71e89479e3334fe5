"""Two workers on one port: they count, answer, change and end like one gateway."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc
import psutil
import pytest

from services.gateway.children import CRASHED, HUNG
from services.gateway.rpc.protocol import CLASSES
from services.gateway.workers.parent import EXIT_PORT_TAKEN, HANGS_AFTER_SECONDS
from tests.integration.services.gateway.conftest import StartGateway
from tests.support.gateways import (
    MODEL,
    Callers,
    GatewayServer,
    champion_and,
    generation,
    logged_predictions,
    set_route,
)
from tests.support.grpc_calls import message, methods
from tests.support.servers import RedisServer, Server, free_port, http_ok, wait_until

pytestmark = pytest.mark.integration

Versions = dict[str, tuple[Path, str]]
COLUMNS = {"customer_id": ["c1"], "merchant_id": ["m1"], "amount": [5.0]}
INSTANCE = {"customer_id": "c1", "merchant_id": "m1", "amount": 5.0}
REQUESTS = "dojo_gateway_requests_total"
# A kill -9 loses the events of the last 10 ms and of a write under way. The rest is for the
# scheduler of a busy machine.
LOST_SECONDS = 0.25


@pytest.fixture
def gateway(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> GatewayServer:
    """Start two workers and wait until both are ready."""
    started = start_gateway(breakable_redis.url, versions=versions, gateway_workers=2)
    wait_for_both(started)
    return started


def wait_for_both(gateway: GatewayServer, within: float = 60) -> None:
    wait_until(lambda: http_ok(f"{gateway.url}/readyz"), within, f"both are ready; {gateway.log}")


def workers_of(gateway: GatewayServer) -> list[psutil.Process]:
    """Return the processes of the workers, by their number."""
    assert gateway.process is not None
    children = psutil.Process(gateway.process.pid).children()
    found = [one for one in children if "services.gateway.workers.worker" in one.cmdline()]
    return sorted(found, key=lambda one: one.cmdline()[-2])


def restarts(gateway: GatewayServer, reason: str) -> float:
    return gateway.metric("dojo_gateway_worker_restarts_total", reason=reason)


def connections(worker: psutil.Process, port: int) -> int:
    """Return how many callers of a port a process has."""
    return sum(
        one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED
        for one in worker.net_connections("tcp")
    )


def serves(gateway: GatewayServer, number: int) -> bool:
    return generation(gateway) == number


@contextmanager
def watched_counter(gateway: GatewayServer) -> Iterator[list[float]]:
    """Scrape the count of answered requests again and again. Yield what the scrapes showed."""
    shown: list[float] = []
    stop = threading.Event()

    def scrape() -> None:
        while not stop.wait(0.02):
            try:
                shown.append(gateway.metric(REQUESTS, model=MODEL, code="200"))
            except OSError:  # the asked worker was killed
                continue

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield shown
    finally:
        stop.set()
        thread.join()


def test_the_sum_of_what_both_count_is_what_was_sent_over_http_and_grpc(
    gateway: GatewayServer, breakable_redis: RedisServer
) -> None:
    calls = 50
    with ExitStack() as opened, Callers(gateway.port, callers=8, pause=0.001) as callers:
        # Without a pool of its own, every channel would use the connection of the first.
        alone = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            opened.enter_context(grpc.insecure_channel(gateway.grpc_address, options=alone))
            for _ in range(16)
        ]
        with ThreadPoolExecutor(8) as pool:
            sent = [
                pool.submit(methods(channel)["ModelInfer"], message(MODEL, COLUMNS))
                for channel in channels
                for _ in range(calls)
            ]
            assert all(one.result().model_version == "1" for one in sent)
        for worker in workers_of(gateway):
            assert connections(worker, gateway.port), "each has callers over HTTP"
            assert connections(worker, gateway.grpc_port), "each has callers over gRPC"
    assert not callers.dropped
    total = len(callers.calls) + len(sent)
    assert gateway.metric(REQUESTS, model=MODEL, code="200") == total
    labels = {"model": MODEL, "version": "1", "arm": "champion"}
    assert gateway.metric("dojo_gateway_predictions_total", **labels) == total
    assert gateway.metric("dojo_gateway_request_seconds_count", model=MODEL) == total
    assert gateway.metric("dojo_gateway_in_flight_requests") == 0
    wait_until(
        lambda: len(logged_predictions(breakable_redis.url)) == total, 10, "every answer is logged"
    )


def test_a_kill_9_of_one_costs_its_requests_in_flight_and_no_count(
    gateway: GatewayServer, breakable_redis: RedisServer
) -> None:
    with (
        Callers(gateway.port, callers=8, pause=0.001) as callers,
        watched_counter(gateway) as shown,
    ):
        wait_until(lambda: len(callers.calls) > 500, 20, "traffic flows")
        victim = workers_of(gateway)[1]
        had = connections(victim, gateway.port)
        assert had
        killed = time.monotonic()
        victim.kill()
        wait_until(lambda: len(callers.since(killed)) > 500, 20, "the other one answers")
        wait_for_both(gateway)
        wait_until(lambda: len(shown) > 20, 10, "scrapes")
    assert len(callers.dropped) <= had, "at most one request of each of its connections"
    assert {call.status for call in callers.calls} == {200}
    assert shown == sorted(shown), "a counter fell"
    # The parent asks each second. What the dead one counted since is lost, as of one process all.
    assert restarts(gateway, CRASHED) == 1
    logged = {event.request_id for event in logged_predictions(breakable_redis.url)}
    answered = {call.request_id: call.sent + call.seconds for call in callers.calls}
    missing = [at for request_id, at in answered.items() if request_id not in logged]
    assert all(abs(at - killed) < LOST_SECONDS for at in missing)


def test_one_that_is_asked_to_end_loses_no_request_no_count_and_no_event(
    gateway: GatewayServer, breakable_redis: RedisServer
) -> None:
    with Callers(gateway.port, callers=8, pause=0.001) as callers:
        wait_until(lambda: len(callers.calls) > 500, 20, "traffic flows")
        victim = workers_of(gateway)[0]
        victim.terminate()
        victim.wait(15)  # without a scrape, which would have it report its counts
        wait_for_both(gateway)
    assert not callers.dropped
    assert gateway.metric(REQUESTS, model=MODEL, code="200") == len(callers.calls)
    wait_until(
        lambda: len(logged_predictions(breakable_redis.url)) == len(callers.calls), 10, "all logged"
    )


def test_a_hanging_one_is_named_and_replaced_and_no_route_serves_before_both_serve_it(
    gateway: GatewayServer, breakable_redis: RedisServer
) -> None:
    before = generation(gateway)
    victim = workers_of(gateway)[0]
    victim.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    set_route(breakable_redis.url, "canary", *champion_and("2", 0.3))

    def readiness() -> tuple[int, str]:
        status, said, _ = gateway.request("GET", "/readyz")
        return status, said["workers"]["1"]

    wait_until(lambda: readiness()[0] == 503, 5, "it is not ready")
    wait_until(lambda: "does not answer" in readiness()[1], 5, "the hanging one is named")
    assert gateway.predict(INSTANCE)[0]["version"] in ("1", "2"), "the other one answers"
    assert generation(gateway) == before, "the hanging one would still serve the old route"
    assert gateway.metric("dojo_route_generation", model=MODEL) == before
    wait_until(
        lambda: restarts(gateway, HUNG) == 1,
        HANGS_AFTER_SECONDS + 10,
        "it is replaced",
        every=0.2,
    )
    assert time.monotonic() - stopped > HANGS_AFTER_SECONDS
    wait_for_both(gateway)
    wait_until(lambda: generation(gateway) == 1, 10, "both serve the new route")
    assert gateway.metric("dojo_route_generation", model=MODEL) == 1


def test_a_new_route_is_served_by_all_once_the_gateway_says_so(
    gateway: GatewayServer, breakable_redis: RedisServer
) -> None:
    for number, (version, share) in enumerate((("2", 0.999), ("1", 0.001)) * 3, 1):
        set_route(breakable_redis.url, "canary", *champion_and("2", share))
        wait_until(partial(serves, gateway, number), 20, "it serves")
        # Each has a connection of its own, so that both workers are asked.
        answers = [gateway.predict({**INSTANCE, "customer_id": f"k{n}"})[0] for n in range(40)]
        assert [one["version"] for one in answers].count(version) >= 38


def test_a_kill_9_of_the_parent_leaves_no_worker_and_frees_both_ports(
    gateway: GatewayServer,
) -> None:
    left = workers_of(gateway)
    left[0].send_signal(signal.SIGSTOP)  # also a hanging one ends
    gateway.kill()
    wait_until(lambda: not any(one.is_running() for one in left), 5, "no worker is left")
    gateway.start()
    wait_for_both(gateway)
    assert gateway.predict(INSTANCE)


def test_without_the_parent_s_word_there_is_no_health_and_requests_are_answered(
    gateway: GatewayServer,
) -> None:
    workers, stopped = workers_of(gateway), time.monotonic()
    gateway.signal(signal.SIGSTOP)
    for path in ("/healthz", "/readyz", "/metrics"):
        status, problem, _ = gateway.request("GET", path)
        assert (status, problem["type"]) == (503, "urn:mlops-dojo:problem:no-state")
    assert gateway.request("GET", "/v2/health/ready")[0] == 503
    with grpc.insecure_channel(gateway.grpc_address) as channel:
        call = methods(channel)
        assert not call["ServerReady"](CLASSES["ServerReadyRequest"]()).ready
        assert call["ModelInfer"](message(MODEL, COLUMNS)).model_version == "1"
    assert gateway.predict(INSTANCE)[0]["degraded"] is None
    # A machine that was paused must not take its silence for that of the workers.
    wait_until(lambda: time.monotonic() - stopped > HANGS_AFTER_SECONDS + 2, 20, "a long pause")
    gateway.signal(signal.SIGCONT)
    wait_until(lambda: gateway.request("GET", "/healthz")[0] == 200, 5, "the parent answers again")
    assert workers_of(gateway) == workers
    assert restarts(gateway, HUNG) == 0


def test_a_second_gateway_on_a_taken_port_ends_at_its_start(
    gateway: GatewayServer, tmp_path: Path
) -> None:
    taken = {"DOJO_GATEWAY_PORT": gateway.port, "DOJO_GATEWAY_GRPC_PORT": gateway.grpc_port}
    command = [sys.executable, "-m", "services.gateway"]
    for setting, port in taken.items():
        others = {name: free_port() for name in taken}
        env = {**others, setting: port, "DOJO_HOME": tmp_path / setting, "DOJO_GATEWAY_WORKERS": 2}
        second = Server(setting, command, tmp_path, {name: str(env[name]) for name in env})
        second.start()
        assert second.process is not None
        try:
            assert second.process.wait(30) == EXIT_PORT_TAKEN
        finally:
            second.stop()
        assert f'"setting": "{setting}"' in second.log.read_text()


def test_one_process_delivers_what_two_left_on_disk(
    breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(breakable_redis.url, gateway_workers=2)
    wait_for_both(gateway)
    breakable_redis.kill()
    with Callers(gateway.port, callers=8, pause=0.005) as callers:
        wait_until(lambda: len(callers.calls) > 400, 30, "answers without Redis")
    wait_until(lambda: gateway.health()["buffered_events"] == 0, 20, "all are on disk")
    spools = [gateway.home / "gateway" / part / "spool" for part in ("", "worker-2")]
    assert all(list(spool.glob("*.jsonl")) for spool in spools)
    gateway.kill()

    breakable_redis.start()
    alone = start_gateway(breakable_redis.url, gateway_workers=1)
    wait_until(lambda: alone.health()["spooled_bytes"] == 0, 20, "the spool is delivered")
    answered = {call.request_id for call in callers.calls if call.status == 200}
    assert answered <= {event.request_id for event in logged_predictions(breakable_redis.url)}
    assert not (gateway.home / "gateway" / "worker-2").exists()
