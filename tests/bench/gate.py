"""How long the gate takes to decide: `python -m tests.bench gate`.

The holdout is like 14 days of the fraud model (60,000 payments, 1 % fraud). Draws, guards and
segments are the spec's. Reading data and models is not included. The baseline computes the same
interval by drawing rows and calling scikit-learn, on a few draws, scaled.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from dojo.core.judging.gate.compare import judge
from dojo.core.judging.gate.holdout import Candidate, GateHoldout
from dojo.core.tasks.specs import load_spec

ROWS, FRAUD_RATE = 60_000, 0.01
CUSTOMERS, MERCHANTS = 5_000, 10_000
LIMIT_SECONDS = 10.0  # from the issue
BASELINE_DRAWS = 20
END = datetime(2018, 6, 17, tzinfo=UTC)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    as_json = parser.parse_args(arguments).json
    report = measure()
    if as_json:
        print(json.dumps(report))  # noqa: T201
    else:
        print(  # noqa: T201
            f"{report['rows']:,} payments, {report['positives']:,} positives, {report['draws']:,}"
            f" draws: {report['seconds']:.2f} s (limit {LIMIT_SECONDS:.0f} s); scikit-learn's"
            f" PR-AUC on drawn rows: {report['baseline_seconds']:.0f} s"
        )
    return 0 if report["passed"] else 1


def measure() -> dict[str, float]:
    spec = load_spec(Path("models/fraud_detection.yaml"))
    random = np.random.default_rng(1)
    labels = (random.random(ROWS) < FRAUD_RATE).astype(np.float64)
    champion, challenger = (
        np.clip(0.3 * labels + random.beta(0.5, 12, ROWS), 0, 1) for _ in range(2)
    )
    thirds = np.array_split(random.permutation(ROWS), 3)
    holdout = GateHoldout(
        start=END - timedelta(days=14),
        end=END,
        labels=labels,
        times=np.full(ROWS, np.datetime64(END.replace(tzinfo=None), "us")),
        clusters={
            "customer": random.integers(0, CUSTOMERS, ROWS),
            "merchant": random.integers(0, MERCHANTS, ROWS),
        },
        segments=dict(zip(("rare", "regular", "frequent"), thirds, strict=True)),
        segmentation="thirds",
    )

    def candidate(version: str, scores: np.ndarray) -> Candidate:
        return Candidate(version, f"run-{version}", END, {"threshold": 0.5}, 12e-6, 200_000, scores)

    begun = time.perf_counter()
    judge(spec, "bench", holdout, candidate("1", champion), candidate("", challenger))
    seconds = time.perf_counter() - begun

    begun = time.perf_counter()
    for _ in range(BASELINE_DRAWS):
        drawn = random.integers(0, ROWS, ROWS)
        for scores in (champion, challenger):
            average_precision_score(labels[drawn], scores[drawn])
    baseline = (time.perf_counter() - begun) / BASELINE_DRAWS * spec.gate.bootstrap_draws
    return {
        "rows": ROWS,
        "positives": int(labels.sum()),
        "draws": spec.gate.bootstrap_draws,
        "seconds": seconds,
        "baseline_seconds": baseline,
        "passed": seconds < LIMIT_SECONDS,
    }


if __name__ == "__main__":
    sys.exit(main())
