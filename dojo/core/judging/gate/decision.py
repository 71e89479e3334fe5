"""What the gate found and decided, with every number: the record that people, the registry, the audit trail and the rollout read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

DECISION_FILE = "decision.json"
GATE_PATH = "gate"  # where it and its report are, in the workspace and among the run's artefacts

GateVerdict = Literal["improved", "inconclusive", "worse", "insufficient_data"]
Outcome = Literal["promote", "keep", "regression", "first"]
GuardVerdict = Literal["ok", "veto", "insufficient_data"]

# The gate's outcome -> the tasks that follow, in Airflow and without. A model's first version has nobody to be compared with and nobody to
# take over from. Here, because the DAG's file is read every half minute and may import nothing heavy.
FOLLOWS: Mapping[Outcome, tuple[str, ...]] = {
    "promote": ("register", "start_rollout"),
    "first": ("register",),
    "keep": ("keep_champion",),
    "regression": ("alert_regression",),
}


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two models, on the holdout.

    Attributes:
        version: in the registry; empty for a challenger, which is registered only if it wins.
        run_id: its MLflow run. `as_of`: world time it was trained at.
        decision: Its own, made on its own validation rows. `metrics`: by name; empty when it could not be scored.
        latency_seconds: median time to score one row, both models in turn. `size_bytes`: of the model file.
    """

    version: str
    run_id: str
    as_of: datetime
    decision: dict[str, float]
    metrics: dict[str, float]
    latency_seconds: float
    size_bytes: int


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a challenger may not cost. `change` is what `limit` bounds: a relative loss, an absolute rise or a ratio."""

    name: str
    measures: str
    champion: float | None
    challenger: float | None
    change: float | None
    limit: float
    verdict: GuardVerdict
    note: str = ""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The primary metric among some of the rows. `gain`, `low`, `high`: relative, as the whole holdout's; None with too little support."""

    name: str
    rows: int
    support: int
    champion: float | None = None
    challenger: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None


class ParameterChange(msgspec.Struct, frozen=True, kw_only=True):
    """A training parameter that differs between the two. None where a version had no such parameter."""

    name: str
    champion: str | None
    challenger: str | None


class TrainingSetChange(msgspec.Struct, frozen=True, kw_only=True):
    """Both training sets side by side, the champion's first in each pair.

    Attributes:
        rows: Examples.
        label_mean: Mean label: the share of positives, or the mean value.
        missing: View -> share of examples for which it had no values.
        psi: Feature -> PSI between both, over the bins of the champion's reference profile.
    """

    rows: tuple[int, int]
    label_mean: tuple[float, float]
    missing: dict[str, tuple[float, float]]
    psi: dict[str, float]


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's decision.

    Attributes:
        task: The model's kind of prediction, which says what the metrics mean.
        job: key of the retraining that asked.
        verdict: of the primary metric. `outcome`: what follows from it and from the guards; `vetoes`: the guards that were broken.
        reason: verdict and outcome in words.
        gain: of the primary metric, relative to the champion's. `low`, `high`: ends of its interval. None when nothing was compared.
        minimum_gain: what the gain had to reach. `confidence`, `draws`, `seed`: of the interval.
        clusters: Entity -> how many of them the holdout has; whole ones were drawn.
        holdout_start, holdout_end: world time, end excluded. `rows`: on it. `support`: `Task.support` of them.
        segmentation: how the segments were cut.
        baseline: What a rollout holds live answers against (`Task.baseline` of the champion).
        parameters: Training parameters that differ.
        training_sets: None without a champion, and where its profile has no training set.
    """

    model: str
    task: str
    job: str
    as_of: datetime
    verdict: GateVerdict
    outcome: Outcome
    vetoes: tuple[str, ...]
    reason: str
    primary_metric: str
    minimum_gain: float
    gain: float | None
    low: float | None
    high: float | None
    confidence: float
    draws: int
    seed: int
    clusters: dict[str, int]
    holdout_start: datetime
    holdout_end: datetime
    rows: int
    support: int
    champion: Contender | None
    challenger: Contender
    guards: tuple[Guard, ...]
    segments: tuple[Segment, ...]
    segmentation: str
    baseline: dict[str, float] = {}
    parameters: tuple[ParameterChange, ...] = ()
    training_sets: TrainingSetChange | None = None

    def write(self, directory: Path) -> Path:
        path = directory / DECISION_FILE
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))
        return path

    @staticmethod
    def read(path: Path) -> GateDecision:
        return msgspec.json.decode(path.read_bytes(), type=GateDecision)
