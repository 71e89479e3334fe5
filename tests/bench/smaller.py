"""What smaller versions cost and save: `python -m tests.bench smaller`.

A model is trained without servers in the default world, at the end of its history. Its pruned and
its distilled version stand beside it. They score the holdout's rows in turn, with ONNX Runtime on
one thread.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.command import run_bench

MODEL = "delivery_time"
ROWS, ROUNDS = 6_400, 3  # scored one by one, and 200 batches of 32, three times


def main(arguments: Sequence[str] | None = None) -> int:
    return run_bench(__doc__, measure, table, arguments)


def measure(directory: Path) -> dict[str, Any]:
    # The catalogue has the features of this model only where DOJO_MODELS names it.
    child = subprocess.run(
        [sys.executable, "-c", "from tests.bench.smaller import print_figures; print_figures()"],
        env={**os.environ, "DOJO_MODELS": MODEL, "DOJO_BENCH_DIRECTORY": str(directory)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(child.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def print_figures() -> None:
    """Print the figures of each version as JSON. `passed` says that both are faster."""
    import polars as pl

    from dojo.core.judging.gate.decision import BATCH
    from dojo.core.registry.bundle import OnnxScorer
    from dojo.core.tasks.specs import load_spec
    from pipelines.gate.decide import scoring_seconds
    from pipelines.training import steps
    from pipelines.training.dataset.build import DATASET_FILE
    from tests.bench.models import train_in_default_world

    spec, directory = (
        load_spec(Path(f"models/{MODEL}.yaml")),
        Path(os.environ["DOJO_BENCH_DIRECTORY"]),
    )
    run = train_in_default_world(spec, directory)[0]
    split = steps.split_of(run, pl.read_parquet(directory / DATASET_FILE, glob=False))
    found = {"champion": _figures(run)}
    files = {"champion": _kept(directory, "champion")}
    for kind in ("pruned", "distilled"):
        _teach(run, kind)
        steps.train_step(run)
        steps.evaluate_step(run)
        found[kind], files[kind] = _figures(run), _kept(directory, kind)
    rows = split.holdout.inputs[:ROWS]
    models = [(OnnxScorer(file), rows) for file in files.values()]
    for name, seconds in (
        ("row_us", scoring_seconds(models, 1, ROUNDS)),
        ("batch_us", scoring_seconds(models, BATCH, ROUNDS)),
    ):
        for kind, value in zip(found, seconds, strict=True):
            found[kind][name] = 1e6 * value
    for kind, file in files.items():
        found[kind]["kilobytes"] = file.stat().st_size / 1000
    passed = all(
        found[kind]["batch_us"] < found["champion"]["batch_us"] for kind in ("pruned", "distilled")
    )
    report = {"metric": spec.gate.primary_metric, "versions": found, "passed": passed}
    print(json.dumps(report))  # noqa: T201


def _figures(run: Any) -> dict[str, float]:
    from pipelines.training import steps

    fit, evaluation = steps.read_fit(run.workspace), steps.read_evaluation(run.workspace)
    metric = run.spec.gate.primary_metric
    return {"trees": fit.trees, "metric": evaluation.metrics[metric]}


def _kept(directory: Path, kind: str) -> Path:
    from dojo.core.registry.bundle import MODEL_FILE

    return Path(shutil.copy(directory / MODEL_FILE, directory / f"{kind}.onnx"))


def _teach(run: Any, kind: str) -> None:
    import msgspec

    from dojo.core.registry.bundle import TREES_FILE
    from pipelines.training.smaller import TEACHER_FILE, Teacher, read_teacher
    from pipelines.training.steps import read_fit

    before = read_teacher(run.workspace)
    trees = before.trees if before else (run.workspace / TREES_FILE).read_text()
    teacher = Teacher(
        kind=kind,  # type: ignore[arg-type]
        version="1",
        features=run.features,
        categories=read_fit(run.workspace).categories,
        trees=trees,
    )
    (run.workspace / TEACHER_FILE).write_bytes(msgspec.json.encode(teacher))


def table(report: Mapping[str, Any]) -> str:
    lines = [f"{'':10} {'trees':>6} {report['metric']:>8} {'row, us':>8} {'32, us':>8} {'kB':>7}"]
    for kind, of in report["versions"].items():
        lines.append(
            f"{kind:10} {of['trees']:6.0f} {of['metric']:8.4f} {of['row_us']:8.1f}"
            f" {of['batch_us']:8.1f} {of['kilobytes']:7.1f}"
        )
    return "\n".join(lines)
