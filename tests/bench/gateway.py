"""How fast the gateway is, compared with a bare FastAPI + pydantic endpoint.

Both run on the same core in the same run.

    python -m tests.bench.gateway [--json]      about a minute

Servers run on core 0. This load generator and Redis run on core 1. Redis is real, with rows written
through Feast. The model is a real LightGBM of 150 trees in ONNX Runtime, and the prediction log is
on. Each of several rounds measures all layers, and the table shows medians. Other load on the
machine then hits a layer and its reference alike.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psutil
from redis import Redis

from dojo.core.state.clock import RedisWorldClock
from tests.bench.command import run_bench
from tests.bench.load import Result, post, run_load
from tests.support.bundles import cache_bundle, make_bundle
from tests.support.online_rows import write_online_rows
from tests.support.servers import RedisServer, Server, free_port, http_ok, wait_until

SERVER_CORE, LOAD_CORE = 0, 1
ENTITIES = 500  # of each kind
CONNECTIONS = 32
ROUNDS, SECONDS = 7, 0.5  # seconds of each layer in each round
# The gateway and the reference take turns. Short turns, because a busy machine changes its speed.
PAIRS, PAIR_SECONDS = 30, 0.25
LATENCY_SECONDS = 8.0
TREES = 150
WORLD_NOW = datetime(2018, 6, 15, 12, tzinfo=UTC)

REQUIRED_RATIO, REQUIRED_P99_SECONDS = 1.0, 0.005

LAYERS = {
    "asgi": "uvicorn alone (bare ASGI)",
    "pydantic": "bare FastAPI + pydantic (the reference)",
    "route": "a path in front of FastAPI + reading the body",
    "decode": "+ decode, validate, encode (msgspec)",
    "lookup": "+ 35 stored features from Redis, in batches",
    "score": "+ input vectors, ONNX Runtime, in batches",
    "predict": "the gateway: + prediction log, metrics, ids",
}


@dataclass
class Measured:
    """One layer.

    `cpu_us` is the server's CPU per request, microseconds. A busy machine distorts it least.
    """

    layer: str
    requests_per_second: float
    cpu_us: float
    errors: int


def main(arguments: Sequence[str] | None = None) -> int:
    return run_bench(__doc__, measure, table, arguments)


def one_row(n: int) -> dict[str, object]:
    """Return a request of one payment, of customer and merchant `n`."""
    row = {"customer_id": f"c{n}", "merchant_id": f"m{n}", "amount": 10.0 + n}
    return {"instances": [{"request_id": f"tx-{n}", **row}]}


def measure(directory: Path) -> dict[str, object]:
    requests = [one_row(n) for n in range(ENTITIES)]
    with _servers(directory) as (layers, layers_port, gateway, gateway_port):

        def run(layer: str, seconds: float) -> Measured:
            server, port = (gateway, gateway_port) if layer == "predict" else (layers, layers_port)
            path = "/asgi" if layer == "asgi" else f"/v1/models/fraud_detection:{layer}"
            sent = [post(path, request) for request in requests]
            return _full_speed(layer, server, port, sent, seconds)

        rounds = [{layer: run(layer, SECONDS) for layer in LAYERS} for _ in range(ROUNDS)]
        pairs = [
            (run("predict", PAIR_SECONDS), run("pydantic", PAIR_SECONDS)) for _ in range(PAIRS)
        ]
        by_layer = {layer: _median([found[layer] for found in rounds]) for layer in LAYERS}
        half = median(whole.requests_per_second for whole, _ in pairs) / 2

        def at_half_load(port: int, layer: str) -> Result:
            paths = [post(f"/v1/models/fraud_detection:{layer}", request) for request in requests]
            return run_load(port, paths, 2 * CONNECTIONS, LATENCY_SECONDS, rate=half)

        steady = at_half_load(gateway_port, "predict")
        reference = at_half_load(layers_port, "pydantic")
        memory = psutil.Process(gateway.process.pid).memory_info().rss if gateway.process else 0
    ratios = [whole.requests_per_second / bare.requests_per_second for whole, bare in pairs]
    ratio, p99 = median(ratios), steady.quantile(0.99)
    errors = steady.errors + sum(m.errors for m in by_layer.values())
    fast = p99 < max(REQUIRED_P99_SECONDS, reference.quantile(0.99))
    return {
        "layers": [asdict(m) for m in by_layer.values()],
        "throughput_ratio": ratio,
        "throughput_ratios": sorted(ratios),
        "cpu_ratio": median(bare.cpu_us / whole.cpu_us for whole, bare in pairs),
        "half_load_rate": steady.rate,
        "half_load_p50_ms": steady.quantile(0.5) * 1000,
        "half_load_p99_ms": p99 * 1000,
        "reference_p99_ms": reference.quantile(0.99) * 1000,
        "errors": errors,
        "memory_mb": memory / 2**20,
        "passed": ratio >= REQUIRED_RATIO and fast and errors == 0,
    }


def table(report: dict[str, object]) -> str:
    lines = [f"{'layer':<46}{'req/s':>8}{'CPU us':>9}{'+ us':>8}"]
    before = 0.0
    lowest, *_, highest = report["throughput_ratios"]  # type: ignore[misc]
    for m in report["layers"]:  # type: ignore[attr-defined]
        added = "" if m["layer"] in ("asgi", "pydantic") else f"{m['cpu_us'] - before:8.0f}"
        lines.append(
            f"{LAYERS[m['layer']]:<46}{m['requests_per_second']:8.0f}{m['cpu_us']:9.0f}{added}"
        )
        before = before if m["layer"] == "pydantic" else m["cpu_us"]
    return "\n".join(
        [
            *lines,
            (
                f"gateway / bare FastAPI + pydantic: {report['throughput_ratio']:.2f} by throughput"
                f" ({lowest:.2f} to {highest:.2f} in {PAIRS} pairs), {report['cpu_ratio']:.2f} by"
                f" CPU (required {REQUIRED_RATIO})"
            ),
            (
                f"at half load ({report['half_load_rate']:.0f} req/s): p50"
                f" {report['half_load_p50_ms']:.2f} ms, p99 {report['half_load_p99_ms']:.2f} ms"
                f" (required < {REQUIRED_P99_SECONDS * 1000:.0f} ms, or less than the reference's"
                f" {report['reference_p99_ms']:.2f} ms at this rate)"
            ),
            f"errors: {report['errors']}, gateway memory: {report['memory_mb']:.0f} MB",
        ]
    )


def _median(measured: Sequence[Measured]) -> Measured:
    """Return the medians of a layer's rounds, and the sum of their errors."""
    return Measured(
        measured[0].layer,
        median(m.requests_per_second for m in measured),
        median(m.cpu_us for m in measured),
        sum(m.errors for m in measured),
    )


def _full_speed(
    layer: str, server: Server, port: int, requests: Sequence[bytes], seconds: float
) -> Measured:
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    run_load(port, requests, CONNECTIONS, 0.1, warm_up=0.1)  # warm caches and branches
    before = process.cpu_times()
    result = run_load(port, requests, CONNECTIONS, seconds, warm_up=0.0)
    after = process.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) / max(1, len(result.latencies))
    return Measured(layer, result.rate, cpu * 1e6, result.errors)


@contextmanager
def _servers(
    directory: Path, grpc_port: int | None = None
) -> Iterator[tuple[Server, int, Server, int]]:
    os.sched_setaffinity(0, {LOAD_CORE})  # inherited by Redis
    redis = RedisServer(directory)
    redis.start()
    RedisWorldClock(Redis.from_url(redis.url)).set(WORLD_NOW, 1.0)
    write_online_rows(directory / "feast", redis.url, ENTITIES, WORLD_NOW)
    cache_bundle(
        directory / "home", directory / "bundle", make_bundle(directory / "bundle", trees=TREES)
    )
    gateway_port, layers_port = free_port(), free_port()
    env = {
        "DOJO_HOME": str(directory / "home"),
        "DOJO_GATEWAY_PORT": str(gateway_port),
        "DOJO_GATEWAY_GRPC_PORT": str(grpc_port or free_port()),
        "DOJO_REDIS_URL": redis.url,
        "DOJO_MLFLOW_URL": f"http://127.0.0.1:{free_port()}",
    }
    gateway = Server("gateway", _on_core(SERVER_CORE, "-m", "services.gateway"), directory, env)
    layers = Server(
        "layers",
        _on_core(SERVER_CORE, "-m", "tests.bench.gateway_layers", str(layers_port)),
        directory,
        env,
    )
    try:
        gateway.start()
        layers.start()
        wait_until(
            lambda: http_ok(f"http://127.0.0.1:{gateway_port}/readyz"),
            60,
            f"gateway is ready:\n{gateway.log}",
        )
        wait_until(lambda: _registry_asked(gateway_port), 60, "the gateway has imported MLflow")
        wait_until(lambda: _listens(layers_port), 60, f"layers listen:\n{layers.tail()}")
        yield layers, layers_port, gateway, gateway_port
    finally:
        for server in (gateway, layers, redis):
            server.stop()


def _on_core(core: int, *arguments: str) -> list[str]:
    """Return the command of a Python process pinned to one core, without `taskset`."""
    pin = (
        f"import os, sys; os.sched_setaffinity(0, {{{core}}}); os.execv(sys.executable,"
        " [sys.executable, *sys.argv[1:]])"
    )
    return [sys.executable, "-c", pin, *arguments]


def _registry_asked(port: int) -> bool:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
        return bool(json.load(answer)["models"]["fraud_detection"]["registry"] != "not asked yet")


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
