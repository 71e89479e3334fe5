"""How fast PSI and KS of a million rows and thirty columns are, compared with Evidently's preset.

Both run on the same data in the same run.

python -m tests.bench drift         about two minutes, 3 GB

Ours is the monitor's work on a window. It counts the rows of all columns over the reference's
deciles. Then it computes PSI with its noise and the bounds of KS from these counts. KS is therefore
known up to changes within a bin. The exact KS must lie within the bounds, for a column of each
kind. The reference's edges and counts are made once a model, so they are timed separately. There
are three passes, two before Evidently and one after, and the slowest counts. The ratio is required
of wall seconds and of processor seconds. A busy machine stretches the latter less.

Evidently runs `DataDriftPreset(method="psi")` and then `method="ks"` over the same two frames,
without drawing a page.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp

from dojo.stats.distances.divergence import ks_bounds
from dojo.stats.distances.psi_noise import psi_critical_value
from dojo.stats.histograms.bin_plan import BinPlan
from dojo.stats.histograms.binning import population_stability_index, quantile_edges
from dojo.stats.histograms.histogram import MatrixHistogram

ROWS, COLUMNS = 1_000_000, 30
DRIFTED = 5  # columns shifted by a tenth of a standard deviation, so that both sides find something
REQUIRED_RATIO = 50.0  # from the issue
SEED = 1
KINDS = 3  # of columns, in turn

Seconds = tuple[float, float]  # wall, processor


@dataclass(frozen=True)
class Column:
    psi: float
    noise: float
    ks: tuple[float, float]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    as_json = parser.parse_args(arguments).json
    report = measure()
    print(json.dumps(report) if as_json else table(report))  # noqa: T201
    return 0 if report["passed"] else 1


def measure(rows: int = ROWS) -> dict[str, float]:
    reference, current = samples(rows)
    begun = time.perf_counter()
    plan = BinPlan({f"column_{at}": quantile_edges(column) for at, column in enumerate(reference)})
    before = counted(plan, reference)
    prepared = time.perf_counter() - begun
    passes = [_timed(lambda: compare(before, counted(plan, current))) for _ in range(2)]
    tracemalloc.start()
    found = compare(before, counted(plan, current))
    extra = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    exact = [
        float(ks_2samp(reference[at], current[at], method="asymp").statistic) for at in range(KINDS)
    ]
    held = all(
        low - 1e-9 <= value <= high + 1e-9
        for value, (low, high) in zip(exact, (c.ks for c in found), strict=False)
    )
    peak = peak_mb()
    psi, ks = evidently_seconds(reference, current)
    evidently_mb = peak_mb() - peak
    passes.append(_timed(lambda: compare(before, counted(plan, current))))
    seconds, processor = (max(times) for times in zip(*passes, strict=True))
    ratio, processor_ratio = (psi[0] + ks[0]) / seconds, (psi[1] + ks[1]) / processor
    return {
        "rows": rows,
        "columns": len(current),
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "reference_seconds": prepared,
        "extra_mb": extra,
        "psi_drifted": sum(column.psi > column.noise for column in found),
        "ks_bounds_wide": max(high - low for low, high in (column.ks for column in found)),
        "ks_bounds_hold": held,
        "processor_seconds": processor,
        "evidently_psi_seconds": psi[0],
        "evidently_ks_seconds": ks[0],
        "evidently_processor_seconds": psi[1] + ks[1],
        "evidently_extra_mb": evidently_mb,
        "ratio": ratio,
        "processor_ratio": processor_ratio,
        "passed": held and min(ratio, processor_ratio) >= REQUIRED_RATIO,
    }


def table(report: dict[str, float]) -> str:
    theirs = report["evidently_psi_seconds"] + report["evidently_ks_seconds"]
    rows = report["rows"]
    return "\n".join(
        [
            f"{rows:,} rows x {report['columns']} columns, PSI and KS",
            (
                f"ours       {report['seconds']:7.2f} s {report['rows_per_second']:>12,.0f} rows/s"
                f" {report['extra_mb']:7.0f} MB beside the data (the reference, once a model:"
                f" {report['reference_seconds']:.2f} s)"
            ),
            (
                f"Evidently  {theirs:7.2f} s {rows / theirs:>12,.0f} rows/s"
                f" {report['evidently_extra_mb']:7.0f} MB (PSI"
                f" {report['evidently_psi_seconds']:.1f} s, KS"
                f" {report['evidently_ks_seconds']:.1f} s)"
            ),
            (
                f"ratio      {report['ratio']:7.0f}   of processor seconds"
                f" {report['processor_ratio']:.0f} ({report['evidently_processor_seconds']:.1f} s"
                f" against {report['processor_seconds']:.2f} s); required {REQUIRED_RATIO:.0f}"
            ),
            (
                f"KS known to {report['ks_bounds_wide']:.3f}, exact one within the bounds:"
                f" {bool(report['ks_bounds_hold'])}; columns with PSI beyond chance:"
                f" {report['psi_drifted']} (shifted: {DRIFTED})"
            ),
        ]
    )


def samples(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return reference and current, shape (columns, rows), float32.

    A third of the columns each is normal, lognormal (amounts) and counts (ties).
    """
    random = np.random.default_rng(SEED)
    sides = []
    for side in range(2):
        data = np.empty((COLUMNS, rows), dtype=np.float32)
        for at in range(COLUMNS):
            shift = 0.1 if side and at < DRIFTED else 0.0
            normal = random.normal(shift, 1.0, rows)
            data[at] = (normal, np.exp(normal), np.floor(np.exp(normal + 2)))[at % KINDS]
        sides.append(data)
    return sides[0], sides[1]


def counted(plan: BinPlan, columns: np.ndarray) -> MatrixHistogram:
    histogram = MatrixHistogram(plan)
    histogram.add(columns.T)
    return histogram


def compare(before: MatrixHistogram, now: MatrixHistogram) -> list[Column]:
    found = []
    for at, bins in enumerate(before.plan.bins):
        reference, current = before.counts[at, :bins], now.counts[at, :bins]
        n, m = int(reference.sum()), int(current.sum())
        noise = psi_critical_value(int(bins), n, m, significance=0.01, features=COLUMNS)
        found.append(
            Column(
                population_stability_index(reference, current), noise, ks_bounds(reference, current)
            )
        )
    return found


def evidently_seconds(reference: np.ndarray, current: np.ndarray) -> tuple[Seconds, Seconds]:
    """Return the seconds of the preset with PSI, and of the preset with KS."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = [f"column_{at}" for at in range(len(current))]
    definition = DataDefinition(numerical_columns=names)
    frames = [
        Dataset.from_pandas(pd.DataFrame(side.T, columns=names), data_definition=definition)
        for side in (current, reference)
    ]
    psi, ks = (
        _timed(Report([DataDriftPreset(method=method)]).run, *frames) for method in ("psi", "ks")
    )
    return psi, ks


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _timed(run: Callable[..., object], *arguments: object) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    run(*arguments)
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    sys.exit(main())
