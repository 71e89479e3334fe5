"""How fast the gateway's gRPC is, compared with a bare grpc.aio server and with HTTP.

    python -m tests.bench grpc [--json]      about a minute

The bare server reads and writes the same messages and does nothing between. Rows and model are
those of the bench `gateway`. Servers run on core 0, this load generator and Redis on core 1. Each
round measures every way in turn, so that other load on the machine hits all of them alike.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from services.gateway.rpc.protocol import SERVICE
from tests.bench.command import run_bench
from tests.bench.gateway import ENTITIES, SERVER_CORE, _listens, _on_core, _servers
from tests.bench.grpc_load import GrpcConnection, call
from tests.bench.load import Connection, Load, post, run_loads
from tests.support.gateways import MODEL
from tests.support.grpc_calls import message
from tests.support.servers import Server, free_port, wait_until

CONNECTIONS = 32
ROUNDS, SECONDS = 9, 1.0  # seconds of each way in each round
BATCH = 32  # rows of a request
REQUIRED_OF_ECHO, REQUIRED_OF_HTTP = 0.8, 1.0

WAYS = {
    "echo_1": "bare grpc.aio, 1 row",
    "grpc_1": "gateway, gRPC, 1 row",
    "http_1": "gateway, HTTP V2 (JSON), 1 row",
    "echo_32": f"bare grpc.aio, {BATCH} rows",
    "grpc_32": f"gateway, gRPC, {BATCH} rows",
    "http_32": f"gateway, HTTP V2 (JSON), {BATCH} rows",
    "predict_32": f"gateway, :predict, {BATCH} rows",
}


def main(arguments: Sequence[str] | None = None) -> int:
    return run_bench(__doc__, measure, table, arguments)


def measure(directory: Path) -> dict[str, object]:
    with _served(directory) as servers:
        rounds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        errors = 0
        for _ in range(ROUNDS):
            for way in WAYS:
                server, port = servers[way.partition("_")[0]]
                rate, cpu, failed = _full_speed(server, port, _load(way), SECONDS)
                rounds[way].append((rate, cpu))
                errors += failed

    def ratio(way: str, reference: str, of: int) -> float:
        """Return the median over the rounds. `of` is 0 for throughput, 1 for processor time.

        A busy machine may let a server answer nothing in a round. Such rounds do not count.
        """
        pairs = zip(rounds[way], rounds[reference], strict=True)
        whole = [(a[of], b[of]) for a, b in pairs if a[of] and b[of]]
        return median(a / b if of == 0 else b / a for a, b in whole)

    of_echo, of_http = ratio("grpc_1", "echo_1", 0), ratio("grpc_32", "http_32", 0)
    return {
        "ways": {
            way: {
                "requests_per_second": median(r for r, _ in found),
                "cpu_us": median(c for _, c in found),
            }
            for way, found in rounds.items()
        },
        "of_echo": of_echo,
        "of_echo_cpu": ratio("grpc_1", "echo_1", 1),
        "of_echo_batch": ratio("grpc_32", "echo_32", 0),
        "of_http_one": ratio("grpc_1", "http_1", 0),
        "of_http": of_http,
        "of_predict": ratio("grpc_32", "predict_32", 0),
        "errors": errors,
        "starved": sum(not rate for found in rounds.values() for rate, _ in found),
        "load_average": os.getloadavg()[0],
        "passed": of_echo >= REQUIRED_OF_ECHO and of_http >= REQUIRED_OF_HTTP and not errors,
    }


def table(report: dict[str, object]) -> str:
    lines = [f"{'way':<38}{'req/s':>8}{'rows/s':>9}{'CPU us':>9}"]
    for way, found in report["ways"].items():  # type: ignore[attr-defined]
        rate, rows = found["requests_per_second"], int(way.partition("_")[2])
        lines.append(f"{WAYS[way]:<38}{rate:8.0f}{rate * rows:9.0f}{found['cpu_us']:9.0f}")
    return "\n".join(
        [
            *lines,
            "gRPC / bare grpc.aio, 1 row: {of_echo:.2f} by throughput, {of_echo_cpu:.2f} by CPU"
            f" (required {REQUIRED_OF_ECHO}); {BATCH} rows: {{of_echo_batch:.2f}}",
            f"gRPC / HTTP V2, {BATCH} rows: {{of_http:.2f}} (required {REQUIRED_OF_HTTP});"
            " 1 row: {of_http_one:.2f}",
            f"gRPC / :predict, {BATCH} rows: {{of_predict:.2f}}",
            "errors: {errors}; ways without an answer in a round: {starved}",
            "load average of the machine: {load_average:.1f}",
        ]
    ).format(**report)


def _load(way: str) -> Load:
    kind, _, count = way.partition("_")
    rows, requests = int(count), []
    for first in range(0, ENTITIES - rows, rows):
        numbers = range(first, first + rows)
        columns = {
            "customer_id": [f"c{n}" for n in numbers],
            "merchant_id": [f"m{n}" for n in numbers],
            "amount": [10.0 + n for n in numbers],
        }
        if kind == "http":
            tensors = [
                {
                    "name": name,
                    "datatype": "FP64" if name == "amount" else "BYTES",
                    "shape": [rows],
                    "data": values,
                }
                for name, values in columns.items()
            ]
            requests.append(post(f"/v2/models/{MODEL}/infer", {"inputs": tensors}))
        elif kind == "predict":
            instances = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            requests.append(post(f"/v1/models/{MODEL}:predict", {"instances": instances}))
        else:
            sent = message(MODEL, columns).SerializeToString()
            requests.append(call(f"/{SERVICE}/ModelInfer", sent))
    connection = Connection if kind in ("http", "predict") else GrpcConnection
    return Load(requests, CONNECTIONS, connection=connection)


def _full_speed(server: Server, port: int, load: Load, seconds: float) -> tuple[float, float, int]:
    """Return answers per second, the server's microseconds of CPU per answer, and errors."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    run_loads(port, [load], 0.1, warm_up=0.1)  # warm caches and branches
    before = process.cpu_times()
    (result,) = run_loads(port, [load], seconds, warm_up=0.0)
    after = process.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) / max(1, len(result.latencies))
    return result.rate, cpu * 1e6, result.errors


@contextmanager
def _served(directory: Path) -> Iterator[dict[str, tuple[Server, int]]]:
    grpc_port, echo_port = free_port(), free_port()
    with _servers(directory, grpc_port) as (_, _, gateway, gateway_port):
        command = _on_core(SERVER_CORE, "-m", "tests.bench.grpc_echo", str(echo_port))
        echo = Server("echo", command, directory, {})
        try:
            echo.start()
            wait_until(lambda: _listens(echo_port), 60, f"the echo listens:\n{echo.tail()}")
            yield {
                "echo": (echo, echo_port),
                "grpc": (gateway, grpc_port),
                "http": (gateway, gateway_port),
                "predict": (gateway, gateway_port),
            }
        finally:
            echo.stop()


if __name__ == "__main__":
    sys.exit(main())
