"""What two workers of a gateway bring, compared with one process.

    python -m tests.bench workers [--json]      about a minute

All servers, Redis and this load generator share the machine's cores. Rows and model are those of
the bench `gateway`. Each round measures one process and two workers in turn, so that other load on
the machine hits both alike. Free cores decide. On two cores, the load generator and Redis already
need one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from redis import Redis

from dojo.core.state.clock import RedisWorldClock
from tests.bench.command import run_bench
from tests.bench.gateway import CONNECTIONS, ENTITIES, TREES, WORLD_NOW, one_row
from tests.bench.load import post, run_load
from tests.support.bundles import cache_bundle, make_bundle
from tests.support.gateways import MODEL, GatewayServer
from tests.support.online_rows import write_online_rows
from tests.support.servers import RedisServer, http_ok, wait_until

WORKERS = (1, 2)
ROUNDS, SECONDS = 9, 1.0  # seconds of each number of workers in each round
# The busier worker's part of the requests. A worker almost without work would be a waste.
LARGEST_SHARE = 0.9
FIGURES = ("requests_per_second", "cpu_us", "p99_seconds", "largest_share")


def main(arguments: Sequence[str] | None = None) -> int:
    return run_bench(__doc__, measure, table, arguments)


def measure(directory: Path) -> dict[str, object]:
    sent = [post(f"/v1/models/{MODEL}:predict", one_row(n)) for n in range(ENTITIES)]
    found: dict[int, list[tuple[float, float, float, float]]] = {one: [] for one in WORKERS}
    errors, memory = 0, {}
    with _gateways(directory) as gateways:
        for _ in range(ROUNDS):
            for workers, gateway in gateways.items():
                run_load(gateway.port, sent, CONNECTIONS, 0.1, warm_up=0.1)
                before = _cpu_seconds(gateway)
                result = run_load(gateway.port, sent, CONNECTIONS, SECONDS, warm_up=0.0)
                used = [now - was for now, was in zip(_cpu_seconds(gateway), before, strict=True)]
                cpu = sum(used) / max(1, len(result.latencies))
                share = max(used) / sum(used)
                found[workers].append((result.rate, cpu * 1e6, result.quantile(0.99), share))
                errors += result.errors
        for workers, gateway in gateways.items():
            memory[workers] = sum(one.memory_info().rss for one in _processes(gateway)) / 2**20
    medians = {
        workers: {
            name: median(column)
            for name, column in zip(FIGURES, zip(*rounds, strict=True), strict=True)
        }
        | {"memory_mb": memory[workers]}
        for workers, rounds in found.items()
    }
    shared = medians[2]["largest_share"] <= LARGEST_SHARE
    return {
        "workers": {str(workers): figures for workers, figures in medians.items()},
        "cores": os.cpu_count(),
        "errors": errors,
        "passed": errors == 0 and shared,
    }


def table(report: dict[str, Any]) -> str:
    head = f"{'workers':<9}{'req/s':>8}{'CPU us':>9}{'p99 ms':>9}{'busiest':>9}{'MB':>7}"
    lines = [
        f"{workers:<9}{m['requests_per_second']:8.0f}{m['cpu_us']:9.0f}"
        f"{1000 * m['p99_seconds']:9.2f}{m['largest_share']:9.0%}{m['memory_mb']:7.0f}"
        for workers, m in report["workers"].items()
    ]
    foot = f"{report['cores']} cores, shared with Redis and the load; errors: {report['errors']}"
    limit = f"busiest: a process' part of the CPU time (2 workers: at most {LARGEST_SHARE:.0%})"
    return "\n".join([head, *lines, foot, limit])


def _processes(gateway: GatewayServer) -> list[psutil.Process]:
    assert gateway.process is not None
    parent = psutil.Process(gateway.process.pid)
    return [parent, *parent.children(recursive=True)]


def _cpu_seconds(gateway: GatewayServer) -> list[float]:
    """Return the processor time of each process so far."""
    times = [one.cpu_times() for one in _processes(gateway)]
    return [one.user + one.system for one in times]


@contextmanager
def _gateways(directory: Path) -> Iterator[dict[int, GatewayServer]]:
    with ExitStack() as running:
        redis = RedisServer(directory)
        redis.start()
        running.callback(redis.stop)
        RedisWorldClock(Redis.from_url(redis.url)).set(WORLD_NOW, 1.0)
        write_online_rows(directory / "feast", redis.url, ENTITIES, WORLD_NOW)
        sha256 = make_bundle(directory / "bundle", trees=TREES)
        gateways = {}
        for workers in WORKERS:
            own = directory / str(workers)
            own.mkdir()
            gateway = GatewayServer(own, redis.url, gateway_workers=workers)
            cache_bundle(gateway.home, directory / "bundle", sha256)
            running.callback(gateway.stop)
            gateway.start()
            ready = f"{gateway.url}/readyz"
            wait_until(partial(http_ok, ready), 60, f"it is ready: {gateway.log}")
            gateways[workers] = gateway
        yield gateways


if __name__ == "__main__":
    sys.exit(main())
