"""`make bench` runs every benchmark in turn. `python -m tests.bench gateway` runs one.

`make bench ARGS="--transactions FILE"` adds the retraining in Airflow (tests/bench/retraining.py).
It needs real transactions.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench import (
    batch,
    batching,
    bulkhead,
    data,
    detection,
    drift,
    gate,
    gateway,
    gateway_grpc,
    growth,
    models,
    monitor,
    repeats,
    retraining,
    rollout,
    smaller,
    workers,
)

BENCHES = {
    "batch": batch.main,
    "batching": batching.main,
    "bulkhead": bulkhead.main,
    "data": data.main,
    "detection": detection.main,
    "drift": drift.main,
    "gate": gate.main,
    "gateway": gateway.main,
    "grpc": gateway_grpc.main,
    "growth": growth.main,
    "models": models.main,
    "monitor": monitor.main,
    "repeats": repeats.main,
    "rollout": rollout.main,
    "smaller": smaller.main,
    "workers": workers.main,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(BENCHES)}; default: all")
    parser.add_argument("--transactions", help="also retrain in Airflow on this file")
    options = parser.parse_args(arguments)
    wanted = options.names
    unknown = set(wanted) - set(BENCHES)
    if unknown:
        print(  # noqa: T201
            f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}",
            file=sys.stderr,
        )
        return 2
    failed = 0
    for name in wanted or BENCHES:
        print(f"\n== {name}", flush=True)  # noqa: T201
        failed |= BENCHES[name]([])
    if options.transactions:
        print("\n== retraining", flush=True)  # noqa: T201
        failed |= retraining.main(["--transactions", options.transactions])
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
