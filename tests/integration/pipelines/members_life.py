"""Trains the models of members on a small town, and scores a night: `python -m` prints JSON.

In a process of its own, because the catalogue has these models where DOJO_MODELS names them.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.connections import connect_redis
from dojo.core.lake import Lake, start_of
from dojo.core.registry.bundle import load_bundle
from dojo.core.settings import Settings, load_settings
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.clock import RedisWorldClock
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import load_specs, task_of
from dojo.shop.events import MEMBERSHIPS
from feature_repo.specs import labels_of
from pipelines.batch_scoring.once import score_day
from pipelines.gate.decide import holdout_rows, inputs_of
from pipelines.release.artefacts import BUNDLE_PATH
from pipelines.retraining import run_retraining
from pipelines.tasks import run_of
from pipelines.training.job import Job
from pipelines.training.steps import Run, read_evaluation
from services.simulator.days import WorldDays
from services.simulator.history import build_history
from services.simulator.sources.span import SYNTHETIC_HISTORY_END, Span
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.world import World

PEOPLE, SEED, HISTORY = 700, 3, timedelta(days=75)
END = SYNTHETIC_HISTORY_END


def main() -> None:
    settings = load_settings()
    specs = load_specs(settings.models_dir, settings.models)
    span = Span(END - HISTORY, END)
    source = SyntheticSource(SEED, PEOPLE, PEOPLE, 0.015)
    labels = labels_of(specs, settings.models_dir)
    lake = Lake(settings.lake_dir)
    days = WorldDays(source, labels, SEED, span.start)
    build_history(World({}, {}, span.start, span.end), days, lake)
    RedisWorldClock(connect_redis(settings.redis)).set(start_of(END) + timedelta(hours=9), 1.0)
    night = END - timedelta(days=1)
    sent = lake.scan(MEMBERSHIPS).filter(pl.col("world_time") >= start_of(night)).collect()
    report = {
        "labels": sorted(labels),
        "night": sent["customer_id"].to_list(),
        "models": {name: _lived(settings, spec) for name, spec in specs.items()},
        "processor_seconds": time.process_time(),
    }
    print(json.dumps(report))  # noqa: T201


def _lived(settings: Settings, spec: ModelSpec) -> dict[str, object]:
    """Train and gate as `dojo retrain` does, then score as a night does."""
    job = Job(model=spec.name, key="first", as_of=start_of(END), reason="a test", who="pytest")
    answer = run_retraining(job, settings)
    run = score_day(settings, spec.name, None, answer["version"], lambda _step, _share: None)
    holdout: list[pl.DataFrame] = []
    again = msgspec.structs.replace(job, key="again", dry_run=True)
    outcome = run_retraining(
        again, settings, after_train=lambda run: holdout.append(holdout_rows(run))
    )["outcome"]
    return {
        "outcome": answer["outcome"],
        "alias": answer["alias"],
        "again": outcome,
        "metrics": read_evaluation(again.workspace(settings.home)).metrics,
        **_without_skill(run_of(again, settings), holdout[0]),
        "scored": run.rows,
        "online": run.online,
    }


def _without_skill(run: Run, rows: pl.DataFrame) -> dict[str, float]:
    """The primary metric of the task's baseline, and of other members' features."""
    task, primary = task_of(run.spec), run.spec.gate.primary_metric
    random = np.random.default_rng(1)
    bundle, scorer = load_bundle(run.workspace / BUNDLE_PATH)
    inputs = inputs_of(rows, bundle)
    labels = rows["label"].to_numpy().astype(np.float64)

    def metrics(inputs: npt.NDArray[np.float32]) -> dict[str, float]:
        scores = scorer.score(inputs).astype(np.float64)
        return task.evaluate(Answered(labels, scores, task.flagged(scores, bundle.decision)))

    support = {"support_holdout": labels.sum(), "rows_holdout": len(labels)}
    baseline = task.no_skill({**metrics(inputs), **support})[1]
    permuted = np.mean([metrics(random.permuted(inputs, axis=0))[primary] for _ in range(20)])
    return {"baseline": float(baseline), "permuted": float(permuted)}


if __name__ == "__main__":
    main()
