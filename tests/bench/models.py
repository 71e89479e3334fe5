"""How good the shop's optional models are: `python -m tests.bench models`.

Each model is trained without servers in the default world, at the end of its history. Its primary
metric on the holdout stands beside two others. One is of an answer without skill, such as the
median. The other is the best that the world's truth allows, before chance decides. Euros a day say
what the shop's use of the answers would bring on the holdout (pipelines/gate/worth.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.spec.schema import ModelSpec

if TYPE_CHECKING:
    from pipelines.training.steps import Run
    from services.simulator.days import WorldDays

HISTORY_DAYS = 100  # the default of DOJO_HISTORY_DAYS
SEED = 7  # the default of DOJO_SEED
TOWN = 5_000  # customers and merchants, the defaults


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    # The catalogue has the features of these models only where DOJO_MODELS names them.
    child = subprocess.run(
        [sys.executable, "-c", "from tests.bench.models import measure; measure()"],
        env={**os.environ, "DOJO_MODELS": "all"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report = json.loads(child.stdout.splitlines()[-1])  # LightGBM warns on the same stream
    if parser.parse_args(arguments).json:
        print(json.dumps(report))  # noqa: T201
        return 0
    for name, found in report.items():
        print(  # noqa: T201
            f"{name}: {found['metric']} {found['model']:.3f}; without skill"
            f" {found['no_skill']:.3f}, best possible {found['best']:.3f}"
            f" ({found['rows']:,} examples of the holdout, trained in {found['seconds']:.0f} s)"
        )
        if "euro" in found:
            print(f"{name}: {found['euro']:,.0f} euro a day on the holdout")  # noqa: T201
        if "coverage" in found:
            print(  # noqa: T201
                f"{name}: its interval covers {found['coverage']:.1%} and is"
                f" {found['width']:.2f} wide; the same interval for all is"
                f" {found['width_for_all']:.2f} wide"
            )
    return 0


def measure() -> None:
    """Print the figures of each optional model as JSON."""
    from dojo.core.tasks.specs import load_specs

    specs = load_specs(Path("models"), ("all",))
    optional = {name: spec for name, spec in specs.items() if spec.optional}
    found = {}
    for name, spec in optional.items():
        with TemporaryDirectory() as directory:
            found[name] = _measured(spec, Path(directory))
    print(json.dumps(found))  # noqa: T201


def train_in_default_world(spec: ModelSpec, directory: Path) -> tuple[Run, WorldDays, float]:
    """Train a version at the end of the default world's history, without servers.

    Returns the run, the world's days, and the wall time of the training.
    """
    from dojo.core.lake import Lake, start_of
    from feature_repo.specs import labels_of
    from pipelines.training import steps
    from services.simulator.days import WorldDays
    from services.simulator.history import build_history
    from services.simulator.sources.span import SYNTHETIC_HISTORY_END, Span
    from services.simulator.sources.synthetic import SyntheticSource
    from services.simulator.world import World

    source = SyntheticSource(SEED, TOWN, TOWN, fraud_rate=0.015)
    end = SYNTHETIC_HISTORY_END
    span = Span(end - timedelta(days=HISTORY_DAYS), end)
    days = WorldDays(source, labels_of({spec.name: spec}, Path("models")), SEED, span.start)
    lake = Lake(directory / "lake")
    build_history(World({}, {}, span.start, span.end), days, lake)
    started = time.perf_counter()
    run = steps.Run(lake, spec, directory)
    steps.collect_step(run, start_of(end))
    steps.build_dataset_step(run, champion=None)
    steps.train_step(run)
    steps.evaluate_step(run)
    return run, days, time.perf_counter() - started


def _measured(spec: ModelSpec, directory: Path) -> dict[str, float | str | int]:
    from dojo.core.tasks.records import Answered
    from dojo.core.tasks.specs import task_of
    from dojo.shop.lists import weight
    from dojo.shop.truths import TRUTHS
    from feature_repo.views import join_key
    from pipelines.training import steps
    from services.simulator.sources.span import SYNTHETIC_HISTORY_END

    run, days, seconds = train_in_default_world(spec, directory)
    end = SYNTHETIC_HISTORY_END
    metrics = steps.read_evaluation(directory).metrics

    last = end - timedelta(days=spec.label.delay.maximum.days)
    holdout = pl.concat(
        days.events(spec.label.event, last - timedelta(days=n))
        for n in range(1, spec.training.holdout.days + 1)
    )
    truth = TRUTHS[spec.label.truth]
    best = holdout[truth.best].to_numpy()
    task, primary = task_of(spec), spec.gate.primary_metric
    answered = Answered(
        labels=holdout.select(truth.of().cast(pl.Float64)).to_series().to_numpy(),
        scores=best,
        flagged=task.flagged(best, steps.read_evaluation(directory).decision),
        entities={entity: holdout[join_key(entity)].to_numpy() for entity in spec.entities},
        times=holdout["time"].dt.replace_time_zone(None).to_numpy(),
        weights=holdout.select(weight(pl.col("position"))).to_series().to_numpy()
        if "position" in holdout.columns
        else None,
    )
    support = {"support_holdout": task.support(answered), "rows_holdout": holdout.height}
    return {
        "metric": primary,
        "model": metrics[primary],
        "no_skill": task.no_skill({**metrics, **support})[1],
        "best": task.evaluate(answered)[primary],
        "rows": holdout.height,
        "seconds": seconds,
        **_euro(run),
        **_interval(spec, metrics, answered.labels),
    }


def _euro(run: Run) -> dict[str, float]:
    """Return the worth of the version's answers, euro a day. Nothing where they have none."""
    from dojo.core.judging.gate.holdout import Candidate
    from dojo.core.registry.bundle import MODEL_FILE, OnnxScorer
    from pipelines.gate.decide import holdout_of, holdout_rows
    from pipelines.gate.worth import worth
    from pipelines.training.steps import read_evaluation

    rows = holdout_rows(run)
    inputs = np.ascontiguousarray(rows.select(run.features).to_numpy(), dtype=np.float32)
    scores = OnnxScorer(run.workspace / MODEL_FILE).score(inputs).astype(np.float64)
    decision = read_evaluation(run.workspace).decision
    version = Candidate("", "", run.manifest.as_of, decision, 0.0, 0, scores)
    found = worth(run.spec, rows, holdout_of(run, rows), None, version)
    return {} if found is None else {"euro": found.challenger}


def _interval(
    spec: ModelSpec, metrics: Mapping[str, float], labels: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Return coverage and width of the intervals. Nothing for a spec without them."""
    from dojo.core.tasks.regression.spec import RegressionSpec

    if not isinstance(spec, RegressionSpec) or spec.interval is None:
        return {}
    tail = (1 - spec.interval.coverage) / 2
    return {
        "coverage": metrics["interval_coverage"],
        "width": metrics["interval_width"],
        "width_for_all": float(np.ptp(np.quantile(labels, [tail, 1 - tail]))),
    }
