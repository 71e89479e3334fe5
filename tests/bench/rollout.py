"""What a challenger costs the champion's traffic: shadows (healthy, slow, crashing) and routing.

    python -m tests.bench.rollout [--json]      about four minutes

Core 0 runs the gateway with all its processes. The other core runs this load generator and Redis.
So the shadow has no core of its own. Every figure of a shadow is compared with the champion alone
in the same gateway. Rounds alternate, so that a machine that slows down counts against neither. A
p99 is the lower quartile of its rounds. Short load from other processes is not the shadow's fault.
`champion again` compares the champion with itself. Its ratio shows the noise.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis import Redis

from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.routes import CHALLENGER_ARM, CHAMPION_ARM, Arm, pick, position
from tests.bench.command import run_bench
from tests.bench.gateway import (
    CONNECTIONS,
    ENTITIES,
    LOAD_CORE,
    SERVER_CORE,
    TREES,
    WORLD_NOW,
    _on_core,
    one_row,
)
from tests.bench.load import post, run_load
from tests.support.bundles import cache_bundle, make_bundle, make_slow_bundle
from tests.support.gateways import GatewayServer, champion_and, generation, set_route
from tests.support.online_rows import write_online_rows
from tests.support.servers import RedisServer, http_ok, wait_until

REQUIRED_THROUGHPUT, TARGET_P99, REQUIRED_DECISION_US = 0.8, 1.05, 5.0
ROUNDS, SECONDS = 5, 2.0
# For latencies, a fifth of full speed, as in normal operation.
RATE, RATE_SECONDS, RATE_ROUNDS = 400.0, 2.0, 9
SLOW_SECONDS = 0.05  # per row, so that the shadow falls behind at 20 requests a second
CRASH_EVERY_SECONDS = 1.0

HEALTHY, SLOW = "2", "3"


def main(arguments: Sequence[str] | None = None) -> int:
    return run_bench(__doc__, measure, table, arguments)


def measure(directory: Path) -> dict[str, object]:
    paths = [post("/v1/models/fraud_detection:predict", one_row(n)) for n in range(ENTITIES)]
    decision = decision_us()
    with _served(directory) as (gateway, redis):
        switch = _Switch(gateway, redis)
        throughputs = [
            (
                _full_speed(switch.champion, gateway, paths),
                _full_speed(switch.shadow, gateway, paths),
            )
            for _ in range(ROUNDS)
        ]
        noise = _p99_ratios(switch.champion, switch.champion, gateway, paths)
        healthy = _p99_ratios(switch.champion, switch.shadow, gateway, paths)
        slow = _p99_ratios(switch.champion, lambda: switch.shadow(SLOW), gateway, paths)
        crashing = _p99_ratios(
            switch.champion, lambda: switch.shadow(HEALTHY), gateway, paths, crash=True
        )
        dropped = gateway.metric(
            "dojo_gateway_shadow_dropped_total", model="fraud_detection", reason="buffer_full"
        )
    ratios = [shadowed.rate / alone.rate for alone, shadowed in throughputs]
    ratio = statistics.median(ratios)
    errors = sum(alone.errors + shadowed.errors for alone, shadowed in throughputs)
    cpu = {
        "champion": statistics.median(alone.gateway_us for alone, _ in throughputs),
        "with shadow": statistics.median(shadowed.gateway_us for _, shadowed in throughputs),
        "sandbox": statistics.median(shadowed.sandbox_us for _, shadowed in throughputs),
    }
    return {
        "decision_us": decision,
        "cpu_us": cpu,
        "cpu_ratio": cpu["champion"] / (cpu["with shadow"] + cpu["sandbox"]),
        "champion_rate": statistics.median(alone.rate for alone, _ in throughputs),
        "shadow_rate": statistics.median(shadowed.rate for _, shadowed in throughputs),
        "throughput_ratio": ratio,
        "throughput_ratios": sorted(ratios),
        "p99": {
            "champion again": noise,
            "healthy shadow": healthy,
            "slow shadow": slow,
            "crashing shadow": crashing,
        },
        "dropped_mirrors": dropped,
        "errors": errors,
        "passed": ratio >= REQUIRED_THROUGHPUT and decision < REQUIRED_DECISION_US and errors == 0,
    }


def table(report: dict[str, object]) -> str:
    low, high = report["throughput_ratios"][0], report["throughput_ratios"][-1]
    lines = [
        (
            f"router's decision: {report['decision_us']:.2f} us (required <"
            f" {REQUIRED_DECISION_US:.0f})"
        ),
        (
            f"throughput: champion alone {report['champion_rate']:.0f} req/s, with a shadow"
            f" {report['shadow_rate']:.0f} req/s, ratio {report['throughput_ratio']:.2f} (rounds"
            f" {low:.2f} to {high:.2f}; required {REQUIRED_THROUGHPUT})"
        ),
        "CPU per request: {champion:.0f} us alone; with a shadow {with shadow:.0f} us in the"
        " gateway and {sandbox:.0f} us in its process".format_map(report["cpu_us"])
        + f", ratio {report['cpu_ratio']:.2f}",
        (
            f"{f'p99 at {RATE:.0f} req/s':<22}{'alone ms':>10}{'with ms':>10}"
            f"{'ratio':>8}{'rounds':>16}   (target <= {TARGET_P99})"
        ),
    ]
    for name, figures in report["p99"].items():  # type: ignore[attr-defined]
        rounds = f"{figures['ratios'][0]:.2f} to {figures['ratios'][-1]:.2f}"
        lines.append(
            f"{name:<22}{figures['alone_ms']:10.2f}{figures['with_ms']:10.2f}"
            f"{figures['ratio']:8.2f}{rounds:>16}"
        )
    return "\n".join(
        [
            *lines,
            (
                f"errors: {report['errors']}, mirrored requests dropped:"
                f" {report['dropped_mirrors']:.0f}"
            ),
        ]
    )


def decision_us() -> float:
    """Return the microseconds to find an entity's arm in a canary: hash, position, arm.

    The best of five runs, each over 500 keys.
    """
    arms = (Arm(CHAMPION_ARM, "1", 0.9), Arm(CHALLENGER_ARM, "2", 0.1))
    keys = [f"customer-{n}" for n in range(500)]

    def decide() -> None:
        for key in keys:
            pick(arms, position("a rollout's id", key))

    return min(timeit.repeat(decide, number=20, repeat=5)) / 20 / len(keys) * 1e6


class _Switch:
    """Changes the route and waits until it serves."""

    def __init__(self, gateway: GatewayServer, redis: RedisServer) -> None:
        self._gateway = gateway
        self._redis = redis

    def champion(self) -> None:
        self._wait(set_route(self._redis.url, "champion", Arm(CHAMPION_ARM, "1", 1.0)).generation)

    def shadow(self, version: str = HEALTHY) -> None:
        self._wait(set_route(self._redis.url, "shadow", *champion_and(version)).generation)

    def _wait(self, wanted: int) -> None:
        wait_until(lambda: generation(self._gateway) == wanted, 30, f"generation {wanted} serves")


@dataclass(frozen=True)
class Speed:
    """Requests per second at full speed, and the CPU microseconds of a request.

    A busy machine distorts the latter least.
    """

    rate: float
    gateway_us: float
    sandbox_us: float
    errors: int


def _full_speed(route: Callable[[], None], gateway: GatewayServer, paths: Sequence[bytes]) -> Speed:
    route()
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    run_load(gateway.port, paths, CONNECTIONS, 0.5)  # warm caches and branches
    children = process.children()
    before, before_children = _cpu(process), sum(map(_cpu, children))
    result = run_load(gateway.port, paths, CONNECTIONS, SECONDS, warm_up=0.0)
    answered = max(1, len(result.latencies)) / 1e6
    gateway_us, sandbox_us = _cpu(process) - before, sum(map(_cpu, children)) - before_children
    return Speed(result.rate, gateway_us / answered, sandbox_us / answered, result.errors)


def _cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of one process.

    0 when it has ended, as the previous route's sandbox.
    """
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def _p99_ratios(
    alone: Callable[[], None],
    shadowed: Callable[[], None],
    gateway: GatewayServer,
    paths: Sequence[bytes],
    crash: bool = False,
) -> dict[str, object]:
    pairs = []
    for _ in range(RATE_ROUNDS):
        alone()
        before = run_load(gateway.port, paths, CONNECTIONS, RATE_SECONDS, rate=RATE)
        shadowed()
        crasher = _crasher(gateway) if crash else None
        after = run_load(gateway.port, paths, CONNECTIONS, RATE_SECONDS, rate=RATE)
        if crasher is not None:
            crasher()
        pairs.append((before.quantile(0.99) * 1000, after.quantile(0.99) * 1000))
    before, after = (statistics.quantiles(side, n=4)[0] for side in zip(*pairs, strict=True))
    return {
        "alone_ms": before,
        "with_ms": after,
        "ratio": after / before,
        "ratios": sorted(after / before for before, after in pairs),
    }


def _crasher(gateway: GatewayServer) -> Callable[[], None]:
    """Kill the shadow's process once a second, from a separate process.

    Returns a function to stop it.
    """
    assert gateway.process is not None
    parent, pid = gateway.process.pid, os.fork()
    if pid == 0:
        while True:
            for child in psutil.Process(parent).children():
                child.kill()
            time.sleep(CRASH_EVERY_SECONDS)

    def end() -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    return end


@contextmanager
def _served(directory: Path) -> Iterator[tuple[GatewayServer, RedisServer]]:
    os.sched_setaffinity(0, {LOAD_CORE})  # inherited by Redis
    redis = RedisServer(directory)
    redis.start()
    RedisWorldClock(Redis.from_url(redis.url)).set(WORLD_NOW, 1.0)
    write_online_rows(directory / "feast", redis.url, ENTITIES, WORLD_NOW)
    gateway = GatewayServer(directory, redis.url)
    gateway._command = _on_core(SERVER_CORE, "-m", "services.gateway")
    for version, make in {
        "1": lambda d: make_bundle(d, trees=TREES),
        HEALTHY: lambda d: make_bundle(d, trees=TREES, seed=2),
        SLOW: lambda d: make_slow_bundle(d, SLOW_SECONDS),
    }.items():
        cache_bundle(gateway.home, directory / version, make(directory / version), version=version)
    try:
        gateway.start()
        wait_until(
            lambda: http_ok(f"{gateway.url}/readyz"), 60, f"the gateway is ready:\n{gateway.log}"
        )
        wait_until(lambda: _registry_asked(gateway), 60, "the gateway has imported MLflow")
        yield gateway, redis
    finally:
        for server in (gateway, redis):
            server.stop()


def _registry_asked(gateway: GatewayServer) -> bool:
    return bool(gateway.health()["models"]["fraud_detection"]["registry"] != "not asked yet")


if __name__ == "__main__":
    sys.exit(main())
