"""What waiting for others is worth: a large and a small model with and without `batching`.

    python -m tests.bench batching      about a minute

The large model is a dense network of 34 MB. One row reads all its weights, and a run of 32 rows
reads them once. The small model is the usual LightGBM of 150 trees. Gateways with and without
`serving.batching` take turns, so that other load on the machine hits them alike. Each is asked as
fast as it answers, and only answers with a score of the model count. Then each is asked at half of
the rate that batching reaches. The gateways and their children share core 0. The load generator and
Redis run on core 1.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from tests.bench.command import run_bench
from tests.bench.gateway import CONNECTIONS, TREES, WORLD_NOW, one_row
from tests.bench.gateways import RunningGateway, gateway_on_a_core, redis_on_the_load_core
from tests.bench.load import Result, post, run_load
from tests.support.bundles import cache_bundle, make_bundle, make_network_bundle
from tests.support.online_rows import write_online_rows

ENTITIES = 100
SMALL, LARGE = "small_model", "large_model"
WIDTH, LAYERS = 2048, 2  # of the network, with 34 MB of weights
BATCHING = "batching: {wait: 2ms, rows: 32}"
ROUNDS, SECONDS = 5, 2.0
LOAD = 0.5  # of the throughput with batching, for the latencies
REQUIRED_RATIO, REQUIRED_P99_SECONDS = 2.0, 0.2  # the p99 of the class standard


def main(arguments: Sequence[str] | None = None) -> int:
    return run_bench(__doc__, measure, table, arguments)


def measure(directory: Path) -> dict[str, object]:
    requests = {
        model: [post(f"/v1/models/{model}:predict", one_row(n)) for n in range(ENTITIES)]
        for model in (SMALL, LARGE)
    }
    full: dict[tuple[str, str], list[Result]] = defaultdict(list)
    steady: dict[tuple[str, str], list[Result]] = defaultdict(list)
    cpu: dict[tuple[str, str], list[float]] = defaultdict(list)
    speed: dict[tuple[str, str], list[float]] = defaultdict(list)
    with _gateways(directory) as gateways:
        for _ in range(ROUNDS):
            for model, sent in requests.items():
                for way, gateway in gateways.items():
                    run_load(gateway.port, sent, CONNECTIONS, 0.2)
                    used, scored = gateway.cpu_seconds(), gateway.scored(model)
                    found = run_load(gateway.port, sent, CONNECTIONS, SECONDS, warm_up=0.0)
                    used, scored = gateway.cpu_seconds() - used, gateway.scored(model) - scored
                    full[model, way].append(found)
                    speed[model, way].append(scored / found.seconds)
                    cpu[model, way].append(used / scored)
        rates = {model: LOAD * median(speed[model, "with"]) for model in requests}
        for _ in range(ROUNDS):
            for model, sent in requests.items():
                for way, gateway in gateways.items():
                    rate = rates[model]
                    found = run_load(gateway.port, sent, 2 * CONNECTIONS, SECONDS, rate)
                    steady[model, way].append(found)
    report = {
        model: {
            way: {
                "rate": median(speed[model, way]),
                "cpu_us": 1e6 * median(cpu[model, way]),
                "full_p99_ms": 1000 * median(one.quantile(0.99) for one in full[model, way]),
                "p50_ms": 1000 * median(one.quantile(0.5) for one in steady[model, way]),
                "p99_ms": 1000 * median(one.quantile(0.99) for one in steady[model, way]),
            }
            for way in gateways
        }
        for model in requests
    }
    errors = sum(one.errors for some in (*full.values(), *steady.values()) for one in some)
    large = report[LARGE]
    ratio = large["with"]["rate"] / large["without"]["rate"]
    in_time = large["with"]["full_p99_ms"] <= 1000 * REQUIRED_P99_SECONDS
    return {
        "models": report,
        "rates": rates,
        "ratio": ratio,
        "errors": errors,
        "passed": ratio >= REQUIRED_RATIO and in_time and not errors,
    }


def table(report: dict[str, object]) -> str:
    lines = [
        f"{'at full speed, and at a rate':<36}{'req/s':>7}{'CPU us':>8}{'p99 ms':>8}"
        f"{'rate':>7}{'p50 ms':>8}{'p99 ms':>8}"
    ]
    for model, ways in report["models"].items():  # type: ignore[attr-defined]
        rate = report["rates"][model]  # type: ignore[index]
        for way, one in ways.items():
            shown = f"{one['rate']:7.0f}{one['cpu_us']:8.0f}{one['full_p99_ms']:8.1f}"
            shown += f"{rate:7.0f}{one['p50_ms']:8.1f}{one['p99_ms']:8.1f}"
            lines.append(f"{f'{model}, {way} batching':<36}{shown}")
    return "\n".join(
        [
            *lines,
            f"large model, throughput with / without: {report['ratio']:.2f} (required"
            f" {REQUIRED_RATIO:g}, at a p99 of at most {1000 * REQUIRED_P99_SECONDS:.0f} ms);"
            f" errors: {report['errors']}",
        ]
    )


@contextmanager
def _gateways(directory: Path) -> Iterator[dict[str, RunningGateway]]:
    """Start a gateway with batching, and one without. Both have both models."""
    made = {
        SMALL: make_bundle(directory / SMALL, SMALL, trees=TREES),
        LARGE: make_network_bundle(directory / LARGE, LARGE, WIDTH, LAYERS),
    }
    spec = Path("models/fraud_detection.yaml").read_text()
    for line, changed in (
        ("latency_class: fast", "latency_class: standard"),
        ("latency_slo: 50ms", "latency_slo: 200ms"),
        ("deadline: 100ms", "deadline: 400ms"),
    ):
        assert line in spec
        spec = spec.replace(line, changed)
    with ExitStack() as running:
        redis = running.enter_context(redis_on_the_load_core(directory))
        write_online_rows(directory / "feast", redis.url, ENTITIES, WORLD_NOW)
        gateways = {}
        for way, line in (("with", BATCHING), ("without", "")):
            models, home = directory / f"models_{way}", directory / f"home_{way}"
            models.mkdir()
            for model, sha256 in made.items():
                text = spec.replace("name: fraud_detection", f"name: {model}")
                text = text.replace("  deadline:", f"  {line}\n  deadline:")
                (models / f"{model}.yaml").write_text(text)
                cache_bundle(home, directory / model, sha256, model=model)
            settings = {"MODELS_DIR": models, "MODELS": f"{SMALL},{LARGE}"}
            gateway = gateway_on_a_core(way, directory, redis.url, home, settings)
            gateways[way] = running.enter_context(gateway)
        yield gateways


if __name__ == "__main__":
    sys.exit(main())
