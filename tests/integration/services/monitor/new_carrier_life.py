"""Trains a model of parcels in a small town, and lives days with a new carrier: prints JSON.

In a process of its own, because the catalogue has this model where DOJO_MODELS names it.
"""

from __future__ import annotations

import json
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from dojo.core.events.types import Prediction
from dojo.core.lake import Lake, start_of
from dojo.core.registry.bundle import MODEL_FILE, PROFILE_FILE, OnnxScorer
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.tasks.specs import load_spec
from dojo.shop.events import ORDERS
from dojo.shop.world_drift import new_drift
from feature_repo.specs import labels_of
from pipelines.batch_scoring.rows import requests_of, with_features
from pipelines.training import steps
from services.monitor.checks.input_checks import WindowComparison, input_drift
from services.monitor.counting.fold import fold_predictions
from services.monitor.counting.state import MonitorMemory
from services.simulator.days import WorldDays
from services.simulator.events import event_history
from services.simulator.history import build_history
from services.simulator.sources.span import SYNTHETIC_HISTORY_END, Span
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.world import World

PEOPLE, SEED, HISTORY = 700, 3, timedelta(days=60)
END = SYNTHETIC_HISTORY_END
KEY = ("delivery_time", "1")


def main(home: Path) -> None:
    spec = load_spec(Path("models/delivery_time.yaml"))
    training = spec.training.model_copy(update={"minimum_rows": 1000, "window": timedelta(days=35)})
    spec = spec.model_copy(update={"training": training})
    span = Span(END - HISTORY, END)
    source = SyntheticSource(SEED, PEOPLE, PEOPLE, 0.015)
    labels = labels_of({spec.name: spec}, Path("models"))
    lake = Lake(home / "lake")
    days = WorldDays(source, labels, SEED, span.start)
    build_history(World({}, {}, span.start, span.end), days, lake)
    run = steps.Run(lake, spec, home)
    steps.collect_step(run, start_of(END))
    steps.validate_step(run)
    steps.build_dataset_step(run, champion=None)
    steps.train_step(run)
    steps.evaluate_step(run)

    days.drift([new_drift("new_carrier", start_of(END + timedelta(days=1)), 0.3)])
    profile = ReferenceProfile.read(home / PROFILE_FILE).require_monitoring()
    memory = MonitorMemory()
    memory.learn(KEY, profile)
    found = []
    for day in (END, END + timedelta(days=1)):
        lake.write(ORDERS, event_history(ORDERS, days.events(ORDERS, day)), f"live-{day}")
        fold_predictions(memory, answers(run, day, profile))
        window = memory.window(KEY, "day", start_of(day))
        assert window is not None
        asked = WindowComparison(window, "day", start_of(day), profile, spec.drift)
        measured = input_drift(asked)
        found.append({name: [one.severity, one.note] for name, one in measured.items()})
    print(json.dumps({"known": steps.read_fit(home).categories, "days": found}))  # noqa: T201


def answers(run: steps.Run, day: date, profile: ReferenceProfile) -> list[Prediction]:
    """Return the day's answers, from batch scoring's rows, as the gateway logs them."""
    service = run.spec.feature_service
    sent = requests_of(run.lake, service, run.spec.entities, day)
    rows = with_features(run.lake, sent, service, day, run.workspace / f"day-{day}")
    inputs = np.ascontiguousarray(rows.select(run.features).to_numpy(), dtype=np.float32)
    scores = OnnxScorer(run.workspace / MODEL_FILE).score(inputs)
    known = profile.features["carrier"].categories
    ordered = rows.select("request_id", "event_timestamp").join(
        sent.select("request_id", "carrier"), on="request_id", maintain_order="left"
    )
    return [
        Prediction(
            event_id=Prediction.id_for(request),
            world_time=time,
            wall_time=time,
            prediction_id=request,
            request_id=request,
            model=KEY[0],
            version=KEY[1],
            arm="champion",
            entity_keys={},
            features=dict(zip(run.features, vector, strict=True)),
            feature_age_seconds={},
            score=float(score),
            flagged=None,
            latency_seconds=0.001,
            new_categories={} if carrier in known else {"carrier": carrier},
        )
        for (request, time, carrier), vector, score in zip(
            ordered.iter_rows(), inputs.tolist(), scores, strict=True
        )
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
