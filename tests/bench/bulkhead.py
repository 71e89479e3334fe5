"""A slow model at its limit beside a fast one: what does the fast one's p99 become?

    python -m tests.bench bulkhead      about a minute

Two gateways have the same models. One keeps every version in its own process, because its
DOJO_SLOW_SCORING_SECONDS is 60. The other gives the slow version a process of its own. Each is
asked for the fast model alone, and beside four times the requests that the slow model can score.
The runs take turns, so that other load on the machine hits all of them alike. The gateways and
their children share core 0. The load generator and Redis run on core 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from tests.bench.command import run_bench
from tests.bench.gateway import WORLD_NOW, one_row
from tests.bench.gateways import gateway_on_a_core, redis_on_the_load_core
from tests.bench.load import Load, Result, post, run_loads
from tests.support.bundles import cache_bundle, make_bundle, make_slow_bundle
from tests.support.online_rows import write_online_rows

ENTITIES = 100
FAST, SLOW = "fraud_detection", "slow_model"
ROW_SECONDS = 0.02
# Requests a second. The slow model can score 50 of them.
FAST_RATE, SLOW_RATE = 300.0, 200.0
CONNECTIONS = 32
ROUNDS, SECONDS = 5, 3.0
REQUIRED_RATIO = 1.2


def main(arguments: Sequence[str] | None = None) -> int:
    return run_bench(__doc__, measure, table, arguments)


def measure(directory: Path) -> dict[str, object]:
    requests = {
        model: [post(f"/v1/models/{model}:predict", one_row(n)) for n in range(ENTITIES)]
        for model in (FAST, SLOW)
    }
    fast, slow = (
        Load(requests[FAST], CONNECTIONS, FAST_RATE),
        Load(requests[SLOW], CONNECTIONS, SLOW_RATE),
    )
    alone: dict[str, list[Result]] = {"on": [], "off": []}
    beside: dict[str, list[Result]] = {"on": [], "off": []}
    slow_answers: list[Result] = []
    with _gateways(directory) as ports:
        for _ in range(ROUNDS):
            for switched, port in ports.items():
                alone[switched] += run_loads(port, [fast], SECONDS)
                both = run_loads(port, [fast, slow], SECONDS)
                beside[switched].append(both[0])
                if switched == "on":
                    slow_answers.append(both[1])
    before = {switched: _p99_ms(found) for switched, found in alone.items()}
    after = {switched: _p99_ms(found) for switched, found in beside.items()}
    ratio = after["on"] / before["on"]
    return {
        "p99_ms_before": before["on"],
        "p99_ms_with": after["on"],
        "p99_ms_off_before": before["off"],
        "p99_ms_off_with": after["off"],
        "ratio": ratio,
        "ratio_off": after["off"] / before["off"],
        "slow_p99_ms": _p99_ms(slow_answers),
        "errors": sum(one.errors for found in (*alone.values(), *beside.values()) for one in found),
        "passed": ratio <= REQUIRED_RATIO,
    }


def table(report: dict[str, object]) -> str:
    return "\n".join(
        [
            f"p99 of the fast model at {FAST_RATE:.0f} requests a second, ms",
            f"{'':<34}{'alone':>8}{'beside':>8}{'ratio':>8}",
            "the slow model in its own process {p99_ms_before:8.2f}{p99_ms_with:8.2f}"
            "{ratio:8.2f}".format(**report),
            "in the gateway's process          {p99_ms_off_before:8.2f}{p99_ms_off_with:8.2f}"
            "{ratio_off:8.2f}".format(**report),
            f"required: {REQUIRED_RATIO}; the slow model's own p99 {report['slow_p99_ms']:.0f} ms;"
            f" errors: {report['errors']}",
        ]
    )


def _p99_ms(results: Sequence[Result]) -> float:
    return 1000 * median(result.quantile(0.99) for result in results)


@contextmanager
def _gateways(directory: Path) -> Iterator[dict[str, int]]:
    with ExitStack() as running:
        redis = running.enter_context(redis_on_the_load_core(directory))
        write_online_rows(directory / "feast", redis.url, ENTITIES, WORLD_NOW)
        specs = directory / "models"
        specs.mkdir()
        spec = Path(f"models/{FAST}.yaml").read_text()
        (specs / f"{FAST}.yaml").write_text(spec)
        slow = spec.replace(f"name: {FAST}", f"name: {SLOW}").replace(
            "concurrency_share: 1.0", "concurrency_share: 0.2"
        )
        (specs / f"{SLOW}.yaml").write_text(slow)
        made = {
            FAST: make_bundle(directory / FAST),
            SLOW: make_slow_bundle(directory / SLOW, ROW_SECONDS, slow_from=-10.0, model=SLOW),
        }
        ports = {}
        for switched, limit in (("on", 0.005), ("off", 60)):
            home = directory / switched
            for model, sha256 in made.items():
                cache_bundle(home, directory / model, sha256, model=model)
            settings = {"MODELS_DIR": specs, "SLOW_SCORING_SECONDS": limit}
            gateway = gateway_on_a_core(f"gateway_{switched}", directory, redis.url, home, settings)
            ports[switched] = running.enter_context(gateway).port
        yield ports


if __name__ == "__main__":
    sys.exit(main())
