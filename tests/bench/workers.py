"""What two workers of a gateway bring, compared with one process.

    python -m tests.bench workers [--json]      about a minute

All servers, Redis and this load generator share the machine's cores. Rows and model are those of
the bench `gateway`. Each round measures one process and two workers in turn, so that other load on
the machine hits both alike. Free cores decide. On two cores, the load generator and Redis need most
of one for requests of one row. They need less of it for 32 rows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, cast

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

WORKERS, ROWS = (1, 2), (1, 32)
ROUNDS, SECONDS = 9, 1.0  # seconds of each way in each round
# The busier worker's part of the requests. A worker almost without work would be a waste.
LARGEST_SHARE = 0.9
FIGURES = ("requests_per_second", "cpu_us", "p99_seconds", "largest_share")


def main(arguments: Sequence[str] | None = None) -> int:
    return run_bench(__doc__, measure, table, arguments)


def measure(directory: Path) -> dict[str, object]:
    sent = {rows: _requests(rows) for rows in ROWS}
    found: dict[str, list[tuple[float, ...]]] = {}
    errors, memory = 0, {}
    with _gateways(directory) as gateways:
        for _, rows, (workers, gateway) in product(range(ROUNDS), ROWS, gateways.items()):
            run_load(gateway.port, sent[rows], CONNECTIONS, 0.1, warm_up=0.1)
            before = _cpu_seconds(gateway)
            result = run_load(gateway.port, sent[rows], CONNECTIONS, SECONDS, warm_up=0.0)
            used = [now - was for now, was in zip(_cpu_seconds(gateway), before, strict=True)]
            errors += result.errors
            if not result.latencies:  # a busy machine may let a server answer nothing in a turn
                continue
            cpu = 1e6 * sum(used) / len(result.latencies)
            figures = (result.rate, cpu, result.quantile(0.99), max(used) / sum(used))
            found.setdefault(f"{rows} rows, {workers} workers", []).append(figures)
        for workers, gateway in gateways.items():
            memory[workers] = sum(one.memory_info().rss for one in _processes(gateway)) / 2**20
    medians = {
        way: {
            name: median(column)
            for name, column in zip(FIGURES, zip(*rounds, strict=True), strict=True)
        }
        for way, rounds in found.items()
    }
    largest = max(m["largest_share"] for way, m in medians.items() if way.endswith("2 workers"))
    return {
        "ways": medians,
        "memory_mb": memory,
        "cores": os.cpu_count(),
        "errors": errors,
        "passed": errors == 0 and largest <= LARGEST_SHARE,
    }


def table(report: dict[str, Any]) -> str:
    head = f"{'':<20}{'req/s':>8}{'CPU us':>9}{'p99 ms':>9}{'busiest':>9}"
    lines = [
        f"{way:<20}{m['requests_per_second']:8.0f}{m['cpu_us']:9.0f}"
        f"{1000 * m['p99_seconds']:9.2f}{m['largest_share']:9.0%}"
        for way, m in report["ways"].items()
    ]
    memory = ", ".join(f"{mb:.0f} MB with {n}" for n, mb in report["memory_mb"].items())
    foot = f"{report['cores']} cores, shared with Redis and the load; errors: {report['errors']}"
    limit = f"busiest: a process' part of the CPU time (2 workers: at most {LARGEST_SHARE:.0%})"
    return "\n".join([head, *lines, memory, foot, limit])


def _requests(rows: int) -> list[bytes]:
    """Return requests of this many payments each."""
    instances = [one for n in range(ENTITIES) for one in cast("Any", one_row(n)["instances"])]
    return [
        post(f"/v1/models/{MODEL}:predict", {"instances": (2 * instances)[n : n + rows]})
        for n in range(ENTITIES)
    ]


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
            # On a busy machine, 32 rows may look slow. The version would then get a process of its
            # own, and that is another measurement.
            gateway = GatewayServer(
                own, redis.url, gateway_workers=workers, slow_scoring_seconds=60
            )
            cache_bundle(gateway.home, directory / "bundle", sha256)
            running.callback(gateway.stop)
            gateway.start()
            ready = f"{gateway.url}/readyz"
            wait_until(partial(http_ok, ready), 60, f"it is ready: {gateway.log}")
            gateways[workers] = gateway
        yield gateways


if __name__ == "__main__":
    sys.exit(main())
