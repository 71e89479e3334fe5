"""The gate: is the challenger better than the champion on the same holdout, and does it cost nothing that matters? Pure functions.

Four verdicts on the primary metric, each from the gain relative to the champion's value and its interval (spec.gate):

    improved            the gain reaches the minimum and the interval lies above zero
    worse               the interval lies below zero
    inconclusive        neither: the holdout cannot tell them apart, or the gain is too small to be worth a change
    insufficient_data   no comparison that means anything; the reason says why

Guards then may veto an improvement. Only `improved` without a veto is promoted. A challenger that is no better wins at most
(1 - confidence) / 2 of the time, 2.5 % at 95 %: tests/unit/pipelines/test_gate_error_rates.py counts.

Whole customers and whole merchants are drawn, both at once (docs/adr/0008 says why): fraud comes in clusters of either, and a
model that knows one compromised merchant better has found one thing, not thirty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from dojo.core.judging.gate.decision import (
    SHORT_NAMES,
    Contender,
    GateDecision,
    GateVerdict,
    Guard,
    Outcome,
    Segment,
)
from dojo.core.judging.gate.guards import guards
from dojo.core.spec.load import ModelSpec
from dojo.core.tasks.binary import at_threshold, evaluate
from dojo.stats.inference.bootstrap import RelativeGain, relative_gain
from dojo.stats.scores.classification import MINIMUM_POSITIVES

Labels = npt.NDArray[np.int8]
Codes = npt.NDArray[np.integer[Any]]
Scores = npt.NDArray[np.floating[Any]]

# Draws for a segment's interval: it is held against a tenth, not against half a percent.
SEGMENT_DRAWS = 500


@dataclass(frozen=True, slots=True)
class GateHoldout:
    """The rows both models are judged on, each seen by neither.

    Attributes:
        start, end: world time, end excluded. `labels`: shape (rows,).
        clusters: column of an entity -> the entity of each row as a number, shape (rows,).
        segments: name of a group of customers -> its row numbers. `segmentation`: how they were cut.
    """

    start: datetime
    end: datetime
    labels: Labels
    clusters: Mapping[str, Codes]
    segments: Mapping[str, npt.NDArray[np.int64]]
    segmentation: str

    @property
    def rows(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> int:
        return int(self.labels.sum())


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model and what it says about the holdout. Fields as in decision.Contender; `scores`: shape (rows,), None if it cannot score."""

    version: str
    run_id: str
    as_of: datetime
    threshold: float
    latency_seconds: float
    size_bytes: int
    scores: Scores | None


@dataclass(frozen=True, slots=True)
class _Pair:
    """The same rows as both models score them: `old` the champion's, `new` the challenger's scores."""

    labels: Labels
    old: Scores
    new: Scores
    clusters: Mapping[str, Codes]

    def of(self, rows: npt.NDArray[np.int64]) -> _Pair:
        return _Pair(
            self.labels[rows], self.old[rows], self.new[rows], {by: codes[rows] for by, codes in self.clusters.items()}
        )

    def gain(self, spec: ModelSpec, draws: int) -> RelativeGain:
        return relative_gain(
            spec.gate.primary_metric,
            self.labels,
            self.old,
            self.new,
            tuple(self.clusters.values()),
            draws=draws,
            confidence=spec.gate.confidence,
            seed=spec.training.seed,
        )


@dataclass(frozen=True, slots=True)
class GateJudgement:
    """The decision, and the bootstrapped gains behind its interval (for a picture of them), shape (draws,); None without any."""

    decision: GateDecision
    drawn: npt.NDArray[np.float64] | None


def judge(
    spec: ModelSpec, job: str, holdout: GateHoldout, champion: Candidate | None, challenger: Candidate, obstacle: str = ""
) -> GateJudgement:
    """Decide about the challenger.

    Args:
        champion: None for a model's first version.
        obstacle: why the holdout or the champion allows no comparison, found before; empty if nothing is known against it.
    """
    if champion is None:
        reason = "There is no champion to compare with: the first version becomes the champion."
        return GateJudgement(_decision(spec, job, holdout, None, challenger, "insufficient_data", "first", reason), None)
    obstacle = obstacle or _too_few(holdout)
    if obstacle or champion.scores is None or challenger.scores is None:
        reason = f"Nothing was compared: {obstacle}. The champion stays."
        return GateJudgement(_decision(spec, job, holdout, champion, challenger, "insufficient_data", "keep", reason), None)

    pair = _Pair(holdout.labels, champion.scores, challenger.scores, holdout.clusters)
    gain = pair.gain(spec, spec.gate.bootstrap_draws)
    verdict = _verdict(spec, gain)
    segments = tuple(_segment(spec, name, pair.of(rows)) for name, rows in holdout.segments.items())
    both = _contender(champion, holdout), _contender(challenger, holdout)
    guarded = guards(spec, *both, segments)
    vetoes = tuple(guard.name for guard in guarded if guard.verdict == "veto")
    outcome: Outcome = "regression" if verdict == "worse" else "promote" if verdict == "improved" and not vetoes else "keep"
    decided = _decision(
        spec, job, holdout, champion, challenger, verdict, outcome,
        _reason(spec, verdict, vetoes, gain), vetoes=vetoes, gain=gain, guarded=guarded, segments=segments,
    )  # fmt: skip
    return GateJudgement(decided, gain.drawn)


def _too_few(holdout: GateHoldout) -> str:
    if holdout.positives < MINIMUM_POSITIVES:
        return (
            f"the holdout has {holdout.positives:,} positives in {holdout.rows:,} rows, at least {MINIMUM_POSITIVES} are needed"
        )
    return ""


def _verdict(spec: ModelSpec, gain: RelativeGain) -> GateVerdict:
    if gain.high < 0:
        return "worse"
    return "improved" if gain.low > 0 and gain.value >= spec.gate.minimum_gain else "inconclusive"


def _segment(spec: ModelSpec, name: str, pair: _Pair) -> Segment:
    rows, positives = len(pair.labels), int(pair.labels.sum())
    if positives < MINIMUM_POSITIVES or positives == rows:
        return Segment(name=name, rows=rows, positives=positives)
    gain, metric = pair.gain(spec, SEGMENT_DRAWS), spec.gate.primary_metric
    return Segment(
        name=name,
        rows=rows,
        positives=positives,
        champion=evaluate(pair.labels, pair.old)[metric],
        challenger=evaluate(pair.labels, pair.new)[metric],
        gain=gain.value,
        low=gain.low,
        high=gain.high,
    )


def _reason(spec: ModelSpec, verdict: GateVerdict, vetoes: Sequence[str], gain: RelativeGain) -> str:
    metric = SHORT_NAMES[spec.gate.primary_metric]
    found = f"{metric} {gain.value:+.1%} relative to the champion's, {spec.gate.confidence:.0%} interval {gain.low:+.1%} to {gain.high:+.1%}"
    if verdict == "worse":
        return f"{found}: the challenger is worse. The champion stays."
    if verdict == "improved" and vetoes:
        return f"{found}: better, but vetoed by {', '.join(vetoes)}. The champion stays."
    if verdict == "improved":
        return f"{found}: better by at least {spec.gate.minimum_gain:.1%}, and no guard objects."
    why = (
        f"the gain is below the minimum of {spec.gate.minimum_gain:.1%}"
        if gain.low > 0
        else "the holdout cannot tell the two apart"
    )
    return f"{found}: {why}. The champion stays."


def _decision(
    spec: ModelSpec,
    job: str,
    holdout: GateHoldout,
    champion: Candidate | None,
    challenger: Candidate,
    verdict: GateVerdict,
    outcome: Outcome,
    reason: str,
    *,
    vetoes: tuple[str, ...] = (),
    gain: RelativeGain | None = None,
    guarded: tuple[Guard, ...] = (),
    segments: tuple[Segment, ...] = (),
) -> GateDecision:
    gate = spec.gate
    return GateDecision(
        model=spec.name, job=job, as_of=challenger.as_of, verdict=verdict, outcome=outcome, vetoes=vetoes, reason=reason,
        primary_metric=gate.primary_metric, minimum_gain=gate.minimum_gain,
        gain=gain.value if gain else None, low=gain.low if gain else None, high=gain.high if gain else None,
        confidence=gate.confidence, draws=gate.bootstrap_draws, seed=spec.training.seed,
        clusters={by: len(np.unique(codes)) for by, codes in holdout.clusters.items()},
        holdout_start=holdout.start, holdout_end=holdout.end, rows=holdout.rows, positives=holdout.positives,
        champion=None if champion is None else _contender(champion, holdout), challenger=_contender(challenger, holdout),
        guards=guarded, segments=segments, segmentation=holdout.segmentation,
    )  # fmt: skip


def _contender(candidate: Candidate, holdout: GateHoldout) -> Contender:
    metrics = {}
    if candidate.scores is not None and 0 < holdout.positives < holdout.rows:
        metrics = evaluate(holdout.labels, candidate.scores) | at_threshold(
            holdout.labels, candidate.scores, candidate.threshold
        )
    return Contender(
        version=candidate.version, run_id=candidate.run_id, as_of=candidate.as_of, threshold=candidate.threshold,
        metrics=metrics, latency_seconds=candidate.latency_seconds, size_bytes=candidate.size_bytes,
    )  # fmt: skip
