"""The gate's findings and decision, with every number.

People, the registry, the audit trail and the rollout read this record.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from dojo.core.judging.gaps import RateGap

DECISION_FILE = "decision.json"
GATE_PATH = "gate"  # decision and report, in the workspace and among the run's artefacts

GateVerdict = Literal["improved", "inconclusive", "worse", "insufficient_data"]
Outcome = Literal["promote", "keep", "regression", "first"]
GuardVerdict = Literal["ok", "veto", "insufficient_data"]

# Rows that are scored at once for `Contender.batch_seconds`, as in a request with a list.
BATCH = 32

# Gate outcome -> the tasks that follow, in Airflow and without it. A model's first version has no
# champion to compare with and none to replace. The table stands here, because Airflow reads the DAG
# file every half minute and that file must import nothing heavy.
FOLLOWS: Mapping[Outcome, tuple[str, ...]] = {
    "promote": ("register", "start_rollout"),
    "first": ("register",),
    "keep": ("keep_champion",),
    "regression": ("alert_regression",),
}


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two models, on the holdout.

    Attributes:
        version: Version in the registry. Empty for a challenger, which is registered only if it
            wins.
        run_id: Its MLflow run.
        as_of: World time of its training.
        decision: Its own decision, made on its own validation rows.
        metrics: Metrics by name. Empty when it could not be scored.
        latency_seconds: Median time to score one row. Both models score in turn.
        size_bytes: Size of the model file, bytes.
        batch_seconds: Median time to score BATCH rows at once. 0 where it was not measured.
    """

    version: str
    run_id: str
    as_of: datetime
    decision: dict[str, float]
    metrics: dict[str, float]
    latency_seconds: float
    size_bytes: int
    batch_seconds: float = 0.0


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity that a challenger must not make worse beyond a limit.

    Attributes:
        name: Name of the guard.
        measures: The measured quantity, in words.
        champion: The champion's value. None when nothing was measured.
        challenger: The challenger's value. None when nothing was measured.
        change: Relative loss, absolute rise or ratio. `limit` bounds it.
        limit: Largest allowed change, in the unit of `change`.
        verdict: The guard's verdict.
        note: Explanation for people.
    """

    name: str
    measures: str
    champion: float | None
    challenger: float | None
    change: float | None
    limit: float
    verdict: GuardVerdict
    note: str = ""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The primary metric on the rows of one segment.

    Attributes:
        name: Name of the segment.
        rows: Number of rows.
        support: `Task.support` of these rows.
        champion: The champion's metric. None with too little support.
        challenger: The challenger's metric. None with too little support.
        gain: Relative gain, as for the whole holdout. None with too little support.
        low: Lower end of the gain's interval. None with too little support.
        high: Upper end of the gain's interval. None with too little support.
    """

    name: str
    rows: int
    support: int
    champion: float | None = None
    challenger: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None


class ParameterChange(msgspec.Struct, frozen=True, kw_only=True):
    """A training parameter that differs. None where a version had no such parameter."""

    name: str
    champion: str | None
    challenger: str | None


class TrainingSetChange(msgspec.Struct, frozen=True, kw_only=True):
    """Both training sets side by side, the champion's first in each pair.

    Attributes:
        rows: Number of examples.
        label_mean: Mean label, which is the share of positives or the mean value.
        missing: View -> share of examples without values of this view.
        psi: Feature -> PSI between both sets, over the bins of the champion's reference profile.
    """

    rows: tuple[int, int]
    label_mean: tuple[float, float]
    missing: dict[str, tuple[float, float]]
    psi: dict[str, float]


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """What acting on the answers would be worth on the holdout, euro a day.

    Attributes:
        challenger: Of the challenger.
        champion: Of the champion. None where it was not compared.
        difference: The challenger's less the champion's. None where it was not compared.
        low: Lower end of the difference's interval, at the gate's confidence.
        high: Upper end of it.
    """

    challenger: float
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's decision.

    Attributes:
        model: Name of the model.
        task: The model's kind of prediction. It gives the metrics their meaning.
        job: Key of the retraining job that asked.
        as_of: World time of the challenger's training.
        verdict: Verdict on the primary metric.
        outcome: What follows from the verdict and the guards.
        vetoes: Names of the broken guards.
        reason: Verdict and outcome in words.
        primary_metric: Name of the compared metric.
        minimum_gain: Smallest gain that counts as improved, relative.
        gain: Gain of the primary metric, relative to the champion's. None when nothing was
            compared.
        low: Lower end of the gain's interval. None when nothing was compared.
        high: Upper end of the gain's interval. None when nothing was compared.
        confidence: Confidence of the interval, a fraction.
        draws: Number of bootstrap draws behind the interval.
        seed: Seed of the draws.
        clusters: Entity -> number of such entities in the holdout. Whole entities were drawn.
        holdout_start: World time of the holdout's beginning, included.
        holdout_end: World time of the holdout's end, excluded.
        rows: Rows of the holdout.
        support: `Task.support` of these rows.
        champion: The champion on the holdout. None for a model's first version.
        challenger: The challenger on the holdout.
        guards: All guards with their verdicts.
        segments: The primary metric by segment.
        segmentation: How the segments were cut.
        baseline: `Task.baseline` of the champion. A rollout compares live answers with it.
        parameters: Training parameters that differ.
        fairness: How far apart the challenger's answers for two groups are. Empty where the model
            is not regulated.
        worth: In euros. None where the answers have no worth one by one. It decides nothing.
        training_sets: None without a champion, and where its profile has no training set.
        allowed_loss: Largest loss of a smaller version's primary metric, relative. None for a
            version that must gain.
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
    fairness: tuple[RateGap, ...] = ()
    parameters: tuple[ParameterChange, ...] = ()
    training_sets: TrainingSetChange | None = None
    worth: Worth | None = None
    allowed_loss: float | None = None

    def write(self, directory: Path) -> Path:
        path = directory / DECISION_FILE
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))
        return path

    @staticmethod
    def read(path: Path) -> GateDecision:
        return msgspec.json.decode(path.read_bytes(), type=GateDecision)
