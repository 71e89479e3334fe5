"""What a result cache is worth: recommendation with and without its `result_cache`.

    python -m tests.bench repeats      about a minute

Two gateways have the model's own features, and a LightGBM of 150 trees. One has the spec without
its result cache. A request is a list of twenty products. Lists that return soon are repeated. Lists
that return after more others than the cache holds never are. So the same gateway is measured with
all, half and none of its requests repeated. The runs take turns, so that other load on the machine
hits all of them alike. The gateways share core 0. The load generator and Redis run on core 1.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from dojo.core.tasks.ranking.task import CUT
from feature_repo.suggestions import SERVICES
from tests.bench.command import run_bench
from tests.bench.gateway import CONNECTIONS, TREES
from tests.bench.gateways import RunningGateway, gateway_on_a_core, redis_on_the_load_core
from tests.bench.load import Result, post, run_load
from tests.support.bundles import cache_bundle, make_bundle

(SERVICE,) = SERVICES
MODEL, LENGTH = SERVICE.model, 20
ENTITIES = 500  # of each kind
FREQUENT = 500  # lists. Half as many others come between two of the same one.
RARE = 20_000  # lists, ten times as many as the cache holds
A_RUN = 3_000  # lists. A run does not answer as many.
ROUNDS, SECONDS = 5, 1.5
# Requests a second for the latencies, of what the gateway without a cache can answer.
LOAD = 0.5

WITHOUT = "without a result cache"
KINDS = ("all repeated", "half repeated", "none repeated", WITHOUT)


def main(arguments: Sequence[str] | None = None) -> int:
    return run_bench(__doc__, measure, table, arguments)


def measure(directory: Path) -> dict[str, object]:
    frequent, rare = _lists(0, FREQUENT), itertools.cycle(_lists(FREQUENT, RARE))

    def requests(kind: str) -> list[bytes]:
        """Return more requests than a run can send. Rare ones go on where the last run's ended."""
        if kind == "all repeated":
            return frequent
        others = list(itertools.islice(rare, A_RUN))
        if kind == "half repeated":
            return [one for pair in zip(frequent * A_RUN, others, strict=False) for one in pair]
        return others

    full: dict[str, list[Result]] = defaultdict(list)
    steady: dict[str, list[Result]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    with _gateways(directory) as (cached, plain):
        gateways = {kind: plain if kind == WITHOUT else cached for kind in KINDS}
        for _ in range(ROUNDS):
            for kind, gateway in gateways.items():
                run_load(gateway.port, requests(kind), CONNECTIONS, SECONDS / 2)
                gateway.wait_for_its_log()
                before = gateway.cpu_seconds()
                found = run_load(gateway.port, requests(kind), CONNECTIONS, SECONDS, warm_up=0.0)
                gateway.wait_for_its_log()
                cpu[kind].append((gateway.cpu_seconds() - before) / len(found.latencies))
                full[kind].append(found)
        rate = LOAD * median(result.rate for result in full[WITHOUT])
        for _ in range(ROUNDS):
            for kind, gateway in gateways.items():
                found = run_load(gateway.port, requests(kind), CONNECTIONS, SECONDS, rate)
                steady[kind].append(found)
    figures = {
        kind: {
            "cpu_us": 1e6 * median(cpu[kind]),
            "rate": median(result.rate for result in full[kind]),
            "p50_ms": 1000 * median(result.quantile(0.5) for result in steady[kind]),
            "p99_ms": 1000 * median(result.quantile(0.99) for result in steady[kind]),
        }
        for kind in KINDS
    }
    errors = sum(one.errors for results in (*full.values(), *steady.values()) for one in results)
    faster = figures["all repeated"]["cpu_us"] < figures[WITHOUT]["cpu_us"]
    return {"found": figures, "load": rate, "errors": errors, "passed": faster and not errors}


def table(report: dict[str, object]) -> str:
    found: dict[str, dict[str, float]] = report["found"]  # type: ignore[assignment]
    bare = found[WITHOUT]
    lines = [f"lists of {LENGTH}; latencies at {report['load']:.0f} lists a second"]
    lines.append(f"{'':<26}{'lists/s':>9}{'ratio':>7}{'CPU us':>8}{'p50 ms':>8}{'p99 ms':>8}")
    for kind, one in found.items():
        ratio = one["rate"] / bare["rate"]
        shown = f"{one['rate']:9.0f}{ratio:7.2f}{one['cpu_us']:8.0f}"
        shown += f"{one['p50_ms']:8.2f}{one['p99_ms']:8.2f}"
        lines.append(f"{kind:<26}{shown}")
    return "\n".join([*lines, f"errors: {report['errors']}"])


def _lists(first: int, count: int) -> list[bytes]:
    """Return lists of products for some customers. Prices make each list another one."""
    return [
        post(
            f"/v1/models/{MODEL}:predict",
            {
                "instances": [
                    {
                        "customer_id": f"c{n % ENTITIES}",
                        "product_id": f"p{(7 * n + at) % ENTITIES}",
                        "price": 10 + at + n / 10_000,
                        "interest": at % 2,
                    }
                    for at in range(LENGTH)
                ]
            },
        )
        for n in range(first, first + count)
    ]


@contextmanager
def _gateways(directory: Path) -> Iterator[tuple[RunningGateway, RunningGateway]]:
    """Start a gateway with the cache, and one without. Yield both."""
    spec = Path(f"models/{MODEL}.yaml").read_text()
    without = spec.replace("result_cache:", "serving:", 1).split("serving:")
    specs = {"cached": spec, "plain": f"{without[0]}serving:{without[2]}"}
    made = make_bundle(
        directory / "bundle",
        MODEL,
        trees=TREES,
        decision={CUT: 0.5},
        features=tuple(SERVICE.features),
        service=SERVICE.name,
    )
    with ExitStack() as running:
        redis = running.enter_context(redis_on_the_load_core(directory))
        _write_rows(directory / "feast", redis.url)
        gateways = []
        for name, text in specs.items():
            models, home = directory / f"models_{name}", directory / f"home_{name}"
            models.mkdir()
            (models / f"{MODEL}.yaml").write_text(text)
            cache_bundle(home, directory / "bundle", made, model=MODEL)
            settings = {"MODELS_DIR": models, "MODELS": MODEL}
            gateway = gateway_on_a_core(name, directory, redis.url, home, settings)
            gateways.append(running.enter_context(gateway))
        yield gateways[0], gateways[1]


def _write_rows(directory: Path, redis_url: str) -> None:
    """Write features of customers and products, in a process whose catalogue has them."""
    code = (
        "from pathlib import Path\n"
        "from tests.bench.gateway import WORLD_NOW\n"
        "from tests.support.online_rows import write_online_rows\n"
        f"write_online_rows(Path({str(directory)!r}), {redis_url!r}, {ENTITIES}, WORLD_NOW)\n"
    )
    environment = {**os.environ, "DOJO_MODELS": MODEL}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
