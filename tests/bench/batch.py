"""How fast a day is scored at once: `python -m tests.bench batch`.

One core. The rows have the fraud model's features, and the bundle is LightGBM's as ONNX. The path
is a run's own. Feature rows come from Parquet, scores go to the lake's Parquet, and keys to a real
Redis. Point-in-time features are not included (`python -m tests.bench data` has them).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ROWS, ENTITIES, TREES = 1_000_000, 50_000, 150
ROWS_LIMIT, KEYS_LIMIT = 200_000, 20_000  # a second, from the issue


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    # Polars reads the number of its threads at its import.
    child = subprocess.run(
        [sys.executable, "-c", "from tests.bench.batch import measure; measure()"],
        env={**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report = json.loads(child.stdout.splitlines()[-1])
    if parser.parse_args(arguments).json:
        print(json.dumps(report))  # noqa: T201
    else:
        print(  # noqa: T201
            f"{report['rows']:,} rows, {report['trees']} trees, one core:"
            f" {report['rows_a_second']:,.0f} rows/s to Parquet (limit {ROWS_LIMIT:,}; the model"
            f" alone {report['model_rows_a_second']:,.0f}); online store"
            f" {report['keys_a_second']:,.0f} keys/s (limit {KEYS_LIMIT:,})"
        )
    return 0 if report["passed"] else 1


def measure() -> None:
    """Print the figures as JSON."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    import numpy as np
    import polars as pl
    from redis import Redis

    from dojo.core.lake import Lake, write_parquet_atomically
    from dojo.core.state.clock import wall_now
    from pipelines.batch_scoring.record import BatchRun, RunRecord
    from pipelines.batch_scoring.run import CHUNK_ROWS, DayScoring
    from tests.support.bundles import make_bundle
    from tests.support.scored_days import DAY, ScoredDay
    from tests.support.servers import RedisServer

    with TemporaryDirectory() as directory:
        home = Path(directory)
        world = ScoredDay(home / "world")
        world.sha256 = make_bundle(home / "larger", trees=TREES)
        world.bundle = home / "larger"
        scorer, random = world.scorer(), np.random.default_rng(1)
        scoring = DayScoring(world.spec, scorer, world.sha256, world.day, Lake(home / "lake"), home)
        rows = pl.DataFrame(
            {
                "request_id": [f"t{n:08d}" for n in range(ROWS)],
                "event_timestamp": DAY
                + pl.Series(np.sort(random.integers(0, 86_400_000_000, ROWS))).cast(
                    pl.Duration("us")
                ),
                "customer_id": [f"c{n}" for n in random.integers(0, ENTITIES, ROWS)],
                "merchant_id": [f"m{n}" for n in random.integers(0, ENTITIES, ROWS)],
                **{
                    name: random.normal(size=ROWS).astype(np.float32)
                    for name in scorer.bundle.features
                },
            }
        )
        record = RunRecord(home, "fraud_detection", "1", world.day)
        write_parquet_atomically(rows, record.rows_file)
        run = BatchRun(
            model="fraud_detection",
            version="1",
            day=world.day,
            inputs="",
            begun=wall_now(),
            chunk_rows=CHUNK_ROWS,
            rows=ROWS,
        )
        inputs = rows.head(CHUNK_ROWS).select(scorer.bundle.features).to_numpy()
        model = _seconds(lambda: scorer.scorer.score(np.ascontiguousarray(inputs)))
        began = time.perf_counter()
        run = scoring._write_scores(run)
        seconds = time.perf_counter() - began
        server = RedisServer(home / "redis")
        server.start()
        scored = scoring.scored(run)
        began = time.perf_counter()
        run = scoring._write_online(run, scored, Redis.from_url(server.url), speed=1.0)
        online = time.perf_counter() - began
        server.stop()
    report = {
        "rows": ROWS,
        "trees": TREES,
        "rows_a_second": ROWS / seconds,
        "model_rows_a_second": CHUNK_ROWS / model,
        "keys": run.online,
        "keys_a_second": (run.online or 0) / online,
    }
    passed = report["rows_a_second"] >= ROWS_LIMIT and report["keys_a_second"] >= KEYS_LIMIT
    print(json.dumps({**report, "passed": passed}))  # noqa: T201


def _seconds(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began
