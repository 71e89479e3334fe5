"""How time grows with history: features, point-in-time rows, training and the monitor.

    python -m tests.bench.growth [--sizes 0.1,1,5] [--picture docs/growth.svg]      about 10 minutes

A world grows by its customers and merchants, and keeps its 90 days. Each size runs in a process of
its own, so that its peak memory is its own. The growth between two sizes is the ratio of their
times, over the ratio of their rows. 1 is linear. A machine that changes its speed in between shows
in it, so compare the steps of one run only.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.settings import load_settings
from dojo.core.tasks.specs import load_spec
from dojo.shop.events import TRANSACTIONS
from feature_repo.catalog import SERVICES
from feature_repo.store import open_store
from pipelines.features.offline import build_offline
from pipelines.features.point_in_time import point_in_time_rows
from pipelines.training.dataset.split import Part
from pipelines.training.train import fit
from tests.bench import data, monitor
from tests.support.servers import RedisServer

SIZES = (0.1, 1.0, 5.0)  # millions of transactions
A_MILLION = 5_700  # customers for a million transactions in 90 days
MERCHANTS_PER_CUSTOMER = 2
# The monitor counts a fiftieth of them. Its work is the same for each event.
MONITORED = 50

REQUIRED_GROWTH = 1.2  # from the issue
STAGES = ("features", "point_in_time", "training", "monitor")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="millions, rising")
    parser.add_argument("--picture", type=Path, help="draw the curve into this SVG file")
    parser.add_argument("--size", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.size is not None:
        print(json.dumps(measure(options.size)))  # noqa: T201
        return 0
    sizes = [_in_a_process(float(size)) for size in options.sizes.split(",")]
    report = {"sizes": sizes, "growth": growth(sizes)}
    report["passed"] = all(
        step[stage] <= REQUIRED_GROWTH for step in report["growth"] for stage in STAGES
    )
    print(json.dumps(report) if options.json else table(report))  # noqa: T201
    if options.picture:
        draw(sizes, options.picture)
    return 0 if report["passed"] else 1


def growth(sizes: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Return for each step between sizes each stage's growth. 1 is linear, less is better."""
    return [
        {stage: (large[stage] / small[stage]) / (large["rows"] / small["rows"]) for stage in STAGES}
        for small, large in pairwise(sizes)
    ]


def table(report: dict[str, Any]) -> str:
    lines = [f"{'transactions':>12}" + "".join(f"{stage + ', s':>18}" for stage in STAGES)]
    lines[0] += f"{'peak memory, MB':>18}"
    for size in report["sizes"]:
        seconds = "".join(f"{size[stage]:18.1f}" for stage in STAGES)
        lines.append(f"{size['rows']:12,}{seconds}{size['peak_memory_mb']:18,.0f}")
    for step in report["growth"]:
        lines.append(f"{'growth':>12}" + "".join(f"{step[stage]:18.2f}" for stage in STAGES))
    return "\n".join([*lines, f"required growth: at most {REQUIRED_GROWTH}"])


def measure(millions: float) -> dict[str, Any]:
    """Return the seconds of each stage in a world of this size."""
    customers = max(50, round(A_MILLION * millions))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        transactions, outcomes, _ = data.world(customers, MERCHANTS_PER_CUSTOMER * customers)
        streams = {TRANSACTIONS: transactions, Stream.OUTCOMES: outcomes}
        first = data.END - timedelta(days=data.DAYS)
        features, _ = data.timed(
            lambda: build_offline(streams, directory / "features", first, data.END)
        )
        store = open_store(
            directory / "features", load_settings().online_store, directory / "registry.db"
        )
        spec = load_spec(data.ROOT / "models" / "fraud_detection.yaml")
        examples = data.examples_of(transactions)
        point_in_time, rows = data.timed(
            lambda: point_in_time_rows(store, spec.feature_service, examples)
        )
        part = _part(rows, outcomes, SERVICES[spec.feature_service].features)
        training, _ = data.timed(lambda: fit(part, None, spec))
        redis = RedisServer(directory / "redis")
        redis.start()
        try:
            events = max(1_000, transactions.height // MONITORED)
            counted = monitor.speed(redis.url, events)
        finally:
            redis.stop()
    return {
        "rows": transactions.height,
        "features": features,
        "point_in_time": point_in_time,
        "training": training,
        "monitor": events / counted["events_per_second"],
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _part(rows: pl.DataFrame, outcomes: pl.DataFrame, features: Sequence[str]) -> Part:
    """Return all rows with a label as one training part."""
    labels = outcomes.unique("request_id", keep="last").select("request_id", "label")
    known = rows.join(labels, left_on="transaction_id", right_on="request_id")
    return Part(
        "train",
        known.select(features).to_numpy().astype(np.float32),
        known["label"].to_numpy().astype(np.float64),
        {},
        np.empty(0, dtype="datetime64[us]"),
    )


def draw(sizes: Sequence[dict[str, Any]], picture: Path) -> None:
    """Draw seconds over transactions, both logarithmic, with a linear line for the eye."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "growth"  # the same figures draw the same file
    figure, axes = plt.subplots(figsize=(7, 4))
    rows = [size["rows"] for size in sizes]
    for stage in STAGES:
        seconds = [size[stage] for size in sizes]
        axes.plot(rows, seconds, marker="o", label=stage.replace("_", " "))
    first = sizes[0]["features"]
    axes.plot(rows, [first * n / rows[0] for n in rows], "k:", linewidth=1, label="linear")
    axes.set(xscale="log", yscale="log", xlabel="transactions in the history", ylabel="seconds")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})
    plt.close(figure)


def _in_a_process(millions: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.growth", "--size", str(millions)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{millions} million transactions: {done.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


if __name__ == "__main__":
    sys.exit(main())
