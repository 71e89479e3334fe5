"""Challengers that fail, crawl, crash and hang.

Every request gets the champion's score in time, and the answer says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from dojo.core.registry.bundle import load_bundle
from dojo.core.state.routes import CHALLENGER_ARM, CHAMPION_ARM, Arm
from dojo.core.tasks.specs import load_spec
from services.gateway.metrics import GatewayMetrics
from services.gateway.versions.sandboxes import PRIORITIES, Sandboxes
from services.gateway.versions.version_store import VersionStore
from tests.integration.services.gateway.conftest import StartGateway
from tests.support.bundles import cache_bundle
from tests.support.gateways import (
    MODEL,
    Call,
    Callers,
    GatewayServer,
    champion_and,
    generation,
    logged_predictions,
    set_route,
)
from tests.support.registries import sealed_registry
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

Versions = dict[str, tuple[Path, str]]
DEADLINE = load_spec(Path("models/fraud_detection.yaml")).serving.deadline.total_seconds()
CUSTOMERS = 50


def canary(
    redis: RedisServer,
    start_gateway: StartGateway,
    versions: Versions,
    challenger: str,
    weight: float = 0.5,
) -> GatewayServer:
    """Start a gateway that serves version 1 and a canary."""
    gateway = start_gateway(
        redis.url, versions={version: versions[version] for version in ("1", challenger)}
    )
    set_route(redis.url, "canary", *champion_and(challenger, weight))
    wait_until(lambda: generation(gateway) == 1, 20, "the canary serves")
    return gateway


def sandboxes_of(pid: int) -> list[psutil.Process]:
    """Return the child processes that score challengers, or begin to."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(
            psutil.NoSuchProcess
        ):  # it ended meanwhile; a zombie counts as ended
            if "services.gateway.sandbox.worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


def sandbox_of(gateway: GatewayServer) -> psutil.Process | None:
    """Return the child process that scores the challenger."""
    assert gateway.process is not None
    return next(iter(sandboxes_of(gateway.process.pid)), None)


def assert_everybody_got_the_champions_answer_in_time(
    calls: list[Call], dropped: list[str]
) -> None:
    assert not dropped
    assert {(call.status, call.version) for call in calls} == {(200, "1")}
    assert_in_time(calls)


def assert_in_time(calls: list[Call]) -> None:
    """A failing challenger costs its callers at most the deadline.

    The champion's callers of the same run are the measure. So a busy machine, which slows both,
    decides nothing.
    """
    others = slowest_tenth([call for call in calls if call.arm != CHALLENGER_ARM])
    assert (
        slowest_tenth([call for call in calls if call.arm == CHALLENGER_ARM])
        < others + 1.5 * DEADLINE
    )


def slowest_tenth(calls: list[Call]) -> float:
    """Seconds above which a tenth of the calls lie."""
    return float(np.quantile([call.seconds for call in calls], 0.9))


@pytest.mark.parametrize(
    ("challenger", "reason"),
    [("3", "error"), ("4", "timeout"), ("5", "timeout")],
    ids=["raises", "slow", "endless"],
)
def test_a_canary_that_always_fails_costs_nobody_an_answer(
    challenger: str,
    reason: str,
    breakable_redis: RedisServer,
    start_gateway: StartGateway,
    versions: Versions,
) -> None:
    gateway = canary(breakable_redis, start_gateway, versions, challenger)
    with Callers(gateway.port, customers=CUSTOMERS) as callers:
        wait_until(
            lambda: sum(call.arm == CHALLENGER_ARM for call in callers.calls) > 40,
            40,
            "the canary had its turn",
        )
        if challenger == "5":
            hung = "dojo_gateway_sandbox_restarts_total"
            wait_until(
                lambda: gateway.metric(hung, model=MODEL, reason="hung") >= 1,
                5 * PRIORITIES["live"].hang_seconds,
                "it is killed",
            )
        calls = callers.stop()
    assert_everybody_got_the_champions_answer_in_time(calls, callers.dropped)
    for call in calls:
        assert ("arm_failed" in call.degraded) == (call.arm == CHALLENGER_ARM)
    assert (
        gateway.metric(
            "dojo_gateway_arm_failed_total", model=MODEL, arm=CHALLENGER_ARM, reason=reason
        )
        > 0
    )

    # The score is the champion's for the same features. The log names the chosen and the answering
    # version.
    _, scorer = load_bundle(versions["1"][0])
    wait_until(
        lambda: len(logged_predictions(breakable_redis.url)) == len(calls), 10, "all are logged"
    )
    for event in logged_predictions(breakable_redis.url):
        assert (event.version, event.route_generation) == ("1", 1)
        row = np.array([list(event.features.values())], dtype=np.float32)
        assert event.score == pytest.approx(float(scorer.score(row)[0]))


def test_a_slow_challengers_time_is_not_logged_as_the_champions_of_the_same_request(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = canary(
        breakable_redis, start_gateway, versions, "4"
    )  # 0.3 s per row uses up its allowed time
    instances = [{"customer_id": f"k{n}", "merchant_id": "m1", "amount": 5.0} for n in range(20)]
    answers = gateway.predict(*instances)
    assert {answer["version"] for answer in answers} == {"1"}
    wait_until(
        lambda: len(logged_predictions(breakable_redis.url)) == len(instances), 10, "all are logged"
    )
    seconds: dict[str, list[float]] = {CHAMPION_ARM: [], CHALLENGER_ARM: []}
    for event in logged_predictions(breakable_redis.url):
        seconds[event.arm].append(event.latency_seconds)
    assert max(seconds[CHAMPION_ARM]) < min(seconds[CHALLENGER_ARM])
    assert min(seconds[CHALLENGER_ARM]) > 0.5 * DEADLINE


def test_only_the_rows_that_fail_fall_back(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = canary(
        breakable_redis, start_gateway, versions, "7", weight=1 - 1e-9
    )  # it raises from 50 euros
    instances = [
        {"customer_id": f"c{n % 5}", "merchant_id": "m1", "amount": 10.0 * n} for n in range(10)
    ]
    answers = gateway.predict(*instances)
    assert {answer["arm"] for answer in answers} == {CHALLENGER_ARM}
    assert [answer["version"] for answer in answers] == ["7"] * 5 + ["1"] * 5
    assert ["arm_failed" in (answer["degraded"] or ()) for answer in answers] == [False] * 5 + [
        True
    ] * 5


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_a_sandbox_that_dies_or_hangs_is_replaced_and_the_champion_answers_meanwhile(
    fault: signal.Signals,
    breakable_redis: RedisServer,
    start_gateway: StartGateway,
    versions: Versions,
) -> None:
    gateway = canary(breakable_redis, start_gateway, versions, "2")
    sandbox = sandbox_of(gateway)
    assert sandbox is not None
    with Callers(gateway.port, customers=CUSTOMERS) as callers:
        wait_until(
            lambda: "2" in {call.version for call in callers.calls}, 10, "the canary answers"
        )
        assert not any("arm_failed" in call.degraded for call in callers.calls)
        broken = time.monotonic()
        sandbox.send_signal(fault)
        wait_until(
            lambda: any("arm_failed" in c.degraded for c in callers.since(broken)),
            5,
            "the champion stands in",
        )
        back = "the canary answers again"
        wait_until(
            lambda: sandbox_of(gateway) not in (None, sandbox), 20, "there is another process"
        )
        replaced = time.monotonic()
        wait_until(lambda: "2" in {call.version for call in callers.since(replaced)}, 20, back)
        whole = time.monotonic()
        wait_until(lambda: len(callers.since(whole)) > 100, 20, "traffic goes on")
        calls = callers.stop()
    assert not callers.dropped
    assert {call.status for call in calls} == {200}
    assert_in_time(calls)
    assert not any("arm_failed" in call.degraded for call in callers.since(whole))
    for call in calls:
        assert call.version == (
            "2" if call.arm == CHALLENGER_ARM and "arm_failed" not in call.degraded else "1"
        )
    reason = "crashed" if fault == signal.SIGKILL else "hung"
    assert gateway.metric("dojo_gateway_sandbox_restarts_total", model=MODEL, reason=reason) == 1
    # While it is down, no request waits for it.
    assert (
        gateway.metric(
            "dojo_gateway_arm_failed_total", model=MODEL, arm=CHALLENGER_ARM, reason="down"
        )
        > 0
    )


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_sandbox_dies_with_its_gateway(
    stopped: bool, breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = canary(breakable_redis, start_gateway, versions, "2")
    sandbox = sandbox_of(gateway)
    assert sandbox is not None
    if stopped:
        sandbox.send_signal(signal.SIGSTOP)
    gateway.kill()
    wait_until(
        lambda: not sandbox.is_running() or sandbox.status() == psutil.STATUS_ZOMBIE,
        5,
        "it is gone",
    )


def test_a_sandbox_ends_when_no_route_needs_it(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = canary(breakable_redis, start_gateway, versions, "2")
    first = sandbox_of(gateway)
    set_route(breakable_redis.url, "canary", *champion_and("2", 0.9))
    wait_until(lambda: generation(gateway) == 2, 5, "the canary has grown")
    assert sandbox_of(gateway) == first, "the same version goes on in the same process"
    set_route(breakable_redis.url, "champion", Arm(CHAMPION_ARM, "1", 1.0))
    wait_until(lambda: generation(gateway) == 3, 5, "the champion serves alone")
    wait_until(lambda: sandbox_of(gateway) is None, 5, "the process has ended")


def test_a_route_whose_champion_cannot_be_had_leaves_no_processes_of_its_challenger(
    breakable_redis: RedisServer, start_gateway: StartGateway, versions: Versions
) -> None:
    gateway = start_gateway(
        breakable_redis.url, versions={version: versions[version] for version in ("1", "8")}
    )
    assert gateway.process is not None
    set_route(
        breakable_redis.url, "canary", *champion_and("8", 0.5, champion="99")
    )  # 99 does not exist, and 8 starts for ever

    def tries() -> float:
        return gateway.metric("dojo_gateway_route_failures_total", model=MODEL)

    wait_until(lambda: tries() >= 3, 60, "it was tried again and again")
    assert (
        len(sandboxes_of(gateway.process.pid)) <= 1
    )  # belongs to the present try, if there is one
    set_route(breakable_redis.url, "champion", Arm(CHAMPION_ARM, "1", 1.0))
    wait_until(lambda: generation(gateway) == 2, 5, "the champion serves alone")
    wait_until(lambda: sandbox_of(gateway) is None, 5, "the last one has ended")


def test_two_who_want_a_version_at_once_get_one_process_and_a_start_that_is_cancelled_leaves_none(
    versions: Versions, tmp_path: Path
) -> None:
    spec = load_spec(Path("models/fraud_detection.yaml"))
    for version in ("2", "8"):
        cache_bundle(tmp_path, *versions[version], version=version)
    store = VersionStore(
        {MODEL: spec},
        tmp_path / "gateway" / "models",
        sealed_registry("http://127.0.0.1:1"),
        lambda *_: None,
    )

    async def scenario() -> None:
        sandboxes = Sandboxes(spec, store, GatewayMetrics(), 0.005)
        first, second = await asyncio.gather(
            *(sandboxes.obtain(("2", "live")) for _ in range(2)),
        )
        assert first is second
        assert [process.pid for process in sandboxes_of(os.getpid())] == [first.sandbox.pid]
        starting = asyncio.create_task(sandboxes.obtain(("8", "live")))
        async with asyncio.timeout(20):
            while len(sandboxes_of(os.getpid())) < 2:
                await asyncio.sleep(0.01)
        starting.cancel()
        await asyncio.wait([starting])
        assert [process.pid for process in sandboxes_of(os.getpid())] == [first.sandbox.pid]
        await sandboxes.close()
        assert not sandboxes_of(os.getpid())

    asyncio.run(scenario())
