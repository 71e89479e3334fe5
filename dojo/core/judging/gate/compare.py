"""The gate compares challenger and champion on the same holdout, with pure functions.

It asks two questions. Is the challenger better? Does it cost anything important?

There are four verdicts on the primary metric. Each follows from the gain relative to the champion's
value and from the gain's interval (spec.gate):

    improved            the gain reaches the minimum and the interval lies above zero
    worse               the interval lies below zero
    inconclusive        neither: the holdout cannot tell them apart, or the gain is too small
    insufficient_data   no comparison that means anything. The reason says why

A gain below the minimum is not worth a change.

Guards may then veto an improvement. Only `improved` without a veto is promoted. A challenger no
better than the champion wins at most (1 - confidence) / 2 of the time. At 95 % this is 2.5 %,
counted by tests/unit/pipelines/test_gate_error_rates.py.

The bootstrap draws whole customers and whole merchants, both at once (docs/adr/0008). The reason is
that fraud comes in clusters of either. A model that knows one compromised merchant better has found
one thing, not thirty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dojo.core.judging.fairness import gaps_of
from dojo.core.judging.gaps import RateGap
from dojo.core.judging.gate.decision import (
    Contender,
    GateDecision,
    GateVerdict,
    Guard,
    Outcome,
    Segment,
)
from dojo.core.judging.gate.guards import fairness_guards, guards, vetoes_of
from dojo.core.judging.gate.holdout import Candidate, GateHoldout
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import task_of
from dojo.stats.inference.bootstrap import RelativeGain

# Draws for a segment's interval. Fewer are enough, because the limit is a tenth and not half a
# percent.
SEGMENT_DRAWS = 500


@dataclass(frozen=True, slots=True)
class GateJudgement:
    """The gate's decision and the draws behind its interval.

    Attributes:
        decision: The decision.
        drawn: Bootstrapped gains for a picture of them, shape (draws,). None when nothing was
            compared.
    """

    decision: GateDecision
    drawn: npt.NDArray[np.float64] | None


def judge(
    spec: ModelSpec,
    job: str,
    holdout: GateHoldout,
    champion: Candidate | None,
    challenger: Candidate,
    obstacle: str = "",
    allowed_loss: float | None = None,
) -> GateJudgement:
    """Decide about the challenger.

    Args:
        spec: The model's spec.
        job: Key of the retraining job that asks.
        holdout: The rows on which both are judged.
        champion: None for a model's first version.
        challenger: The candidate to judge.
        obstacle: Why the holdout or the champion allows no comparison, if this is already known.
            Otherwise empty.
        allowed_loss: Largest loss of a smaller version's primary metric, relative. None for a
            version that must gain.
    """
    if champion is None:
        return GateJudgement(_first(spec, job, holdout, challenger), None)
    task = task_of(spec)
    if not obstacle and champion.scores is not None:
        few = task.too_few(holdout.answered(champion, spec))
        obstacle = f"the holdout has {few}" if few else ""
    if obstacle or champion.scores is None or challenger.scores is None:
        reason = f"Nothing was compared: {obstacle}. The champion stays."
        return GateJudgement(
            _decision(
                spec, job, holdout, champion, challenger, "insufficient_data", "keep", reason
            ),
            None,
        )

    old, new = holdout.answered(champion, spec), holdout.answered(challenger, spec)
    gain = task.gain(old, new, spec.gate.bootstrap_draws)
    verdict = _verdict(spec, gain)
    segments = tuple(
        _segment(spec, name, old.of(rows), new.of(rows)) for name, rows in holdout.segments.items()
    )
    both = _contender(spec, champion, holdout), _contender(spec, challenger, holdout)
    fairness = gaps_of(spec, new, holdout.protected)
    guarded = (
        *guards(spec, *both, segments),
        *fairness_guards(gaps_of(spec, old, holdout.protected), fairness),
    )
    vetoes = vetoes_of(guarded)
    outcome: Outcome = (
        "regression"
        if verdict == "worse"
        else "promote"
        if verdict == "improved" and not vetoes
        else "keep"
    )
    reason = _reason(spec, verdict, vetoes, gain)
    if allowed_loss is not None:
        within = gain.low >= -allowed_loss
        outcome = "promote" if within and not vetoes else "keep"
        reason = _reason_of_smaller(spec, allowed_loss, vetoes, gain)
    decided = _decision(
        spec, job, holdout, champion, challenger, verdict, outcome, reason,
        vetoes=vetoes, gain=gain, guarded=guarded, segments=segments, fairness=fairness,
        allowed_loss=allowed_loss,
    )  # fmt: skip
    return GateJudgement(decided, gain.drawn)


def _first(spec: ModelSpec, job: str, holdout: GateHoldout, challenger: Candidate) -> GateDecision:
    """Decide about a model's first version. Only unfairness can keep it out."""
    fairness = (
        ()
        if challenger.scores is None
        else gaps_of(spec, holdout.answered(challenger, spec), holdout.protected)
    )
    guarded = fairness_guards((), fairness)
    vetoes = vetoes_of(guarded)
    reason = (
        f"There is no champion to compare with, but {', '.join(vetoes)} vetoed: the first version"
        " is not registered."
        if vetoes
        else "There is no champion to compare with: the first version waits for approval."
        if spec.rollout.approval == "required"
        else "There is no champion to compare with: the first version becomes the champion."
    )
    return _decision(
        spec, job, holdout, None, challenger, "insufficient_data", "keep" if vetoes else "first",
        reason, vetoes=vetoes, guarded=guarded, fairness=fairness,
    )  # fmt: skip


def _verdict(spec: ModelSpec, gain: RelativeGain) -> GateVerdict:
    if gain.high < 0:
        return "worse"
    return "improved" if gain.low > 0 and gain.value >= spec.gate.minimum_gain else "inconclusive"


def _segment(spec: ModelSpec, name: str, old: Answered, new: Answered) -> Segment:
    task, metric = task_of(spec), spec.gate.primary_metric
    rows, support = len(old.labels), task.support(old)
    if task.too_few(old):
        return Segment(name=name, rows=rows, support=support)
    gain = task.gain(old, new, SEGMENT_DRAWS)
    return Segment(
        name=name,
        rows=rows,
        support=support,
        champion=task.evaluate(old)[metric],
        challenger=task.evaluate(new)[metric],
        gain=gain.value,
        low=gain.low,
        high=gain.high,
    )


def _reason(
    spec: ModelSpec, verdict: GateVerdict, vetoes: Sequence[str], gain: RelativeGain
) -> str:
    found = _found(spec, gain)
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


def _reason_of_smaller(
    spec: ModelSpec, allowed_loss: float, vetoes: Sequence[str], gain: RelativeGain
) -> str:
    found = _found(spec, gain)
    if gain.low < -allowed_loss:
        return (
            f"{found}: the smaller version may lose more than {allowed_loss:.1%}. The champion"
            " stays."
        )
    if vetoes:
        return (
            f"{found}: small enough a loss, but vetoed by {', '.join(vetoes)}. The champion stays."
        )
    return f"{found}: the smaller version loses at most {allowed_loss:.1%}, and no guard objects."


def _found(spec: ModelSpec, gain: RelativeGain) -> str:
    metric = task_of(spec).metrics[spec.gate.primary_metric].short
    return (
        f"{metric} {gain.value:+.1%} relative to the champion's, {spec.gate.confidence:.0%}"
        f" interval {gain.low:+.1%} to {gain.high:+.1%}"
    )


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
    fairness: tuple[RateGap, ...] = (),
    allowed_loss: float | None = None,
) -> GateDecision:
    gate = spec.gate
    return GateDecision(
        model=spec.name, task=spec.task, job=job, as_of=challenger.as_of,
        verdict=verdict, outcome=outcome, vetoes=vetoes, reason=reason,
        primary_metric=gate.primary_metric, minimum_gain=gate.minimum_gain,
        gain=gain.value if gain else None,
        low=gain.low if gain else None, high=gain.high if gain else None,
        confidence=gate.confidence, draws=gate.bootstrap_draws, seed=spec.training.seed,
        clusters={by: len(np.unique(codes)) for by, codes in holdout.clusters.items()},
        holdout_start=holdout.start, holdout_end=holdout.end, rows=holdout.rows,
        support=_support(spec, holdout, challenger),
        champion=None if champion is None else _contender(spec, champion, holdout),
        challenger=_contender(spec, challenger, holdout),
        guards=guarded, segments=segments, segmentation=holdout.segmentation, fairness=fairness,
        baseline=_baseline(spec, holdout, champion, challenger), allowed_loss=allowed_loss,
    )  # fmt: skip


def _contender(spec: ModelSpec, candidate: Candidate, holdout: GateHoldout) -> Contender:
    metrics = {}
    if candidate.scores is not None and not task_of(spec).part_fault(holdout.labels):
        metrics = task_of(spec).evaluate(holdout.answered(candidate, spec))
    return Contender(
        version=candidate.version, run_id=candidate.run_id, as_of=candidate.as_of,
        decision=dict(candidate.decision),
        metrics=metrics, latency_seconds=candidate.latency_seconds, size_bytes=candidate.size_bytes,
        batch_seconds=candidate.batch_seconds,
    )  # fmt: skip


def _support(spec: ModelSpec, holdout: GateHoldout, candidate: Candidate) -> int:
    return (
        0 if candidate.scores is None else task_of(spec).support(holdout.answered(candidate, spec))
    )


def _baseline(
    spec: ModelSpec, holdout: GateHoldout, champion: Candidate | None, challenger: Candidate
) -> dict[str, float]:
    if champion is None or champion.scores is None or task_of(spec).part_fault(holdout.labels):
        return {}
    return task_of(spec).baseline(holdout.answered(champion, spec), challenger.decision)
