"""The costs that block a challenger despite its win on the primary metric (spec.gate.guards).

Pure functions, one verdict for each guard.
"""

from __future__ import annotations

from collections.abc import Sequence

from dojo.core.judging.gaps import MEASURES, RateGap
from dojo.core.judging.gate.decision import Contender, Guard, Segment
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import GuardRule
from dojo.core.tasks.specs import task_of

# Below these values, being several times slower or larger does not matter.
NEGLIGIBLE_LATENCY = 0.01  # share of serving.latency_slo, for example half a millisecond of 50
NEGLIGIBLE_SIZE = 1_000_000  # bytes


def guards(
    spec: ModelSpec, champion: Contender, challenger: Contender, segments: Sequence[Segment]
) -> tuple[Guard, ...]:
    """Return every guard's verdict. The task's guards come first."""
    task, limits = task_of(spec), spec.gate.guards
    slow_enough = NEGLIGIBLE_LATENCY * spec.serving.latency_slo.total_seconds()
    return (
        *(
            _metric(rule, champion.metrics.get(rule.metric), challenger.metrics.get(rule.metric))
            for rule in task.guards
        ),
        _worst_segment(
            segments, limits.worst_segment, task.metrics[spec.gate.primary_metric].short,
            task.support_name,
        ),
        _ratio("latency", "time to score one row",
               champion.latency_seconds, challenger.latency_seconds,
               limits.latency, slow_enough, f"{slow_enough * 1000:g} ms"),
        _ratio("size", "model file, bytes", champion.size_bytes, challenger.size_bytes,
               limits.size, NEGLIGIBLE_SIZE, f"{NEGLIGIBLE_SIZE / 1e6:g} MB"),
    )  # fmt: skip


def fairness_guards(
    champion: Sequence[RateGap], challenger: Sequence[RateGap]
) -> tuple[Guard, ...]:
    """Return a guard for each rate of a regulated model.

    Args:
        champion: The champion's gaps. Empty without a champion.
        challenger: The challenger's gaps.
    """
    before = {gap.rate: gap.value for gap in champion}
    return tuple(
        Guard(
            name=f"fair_{gap.rate}", measures=f"{MEASURES[gap.rate]}; largest difference of groups",
            champion=before.get(gap.rate), challenger=gap.value, change=gap.value, limit=gap.limit,
            verdict=gap.verdict, note=gap.words,
        )
        for gap in challenger
    )  # fmt: skip


def vetoes_of(guarded: Sequence[Guard]) -> tuple[str, ...]:
    """Return the names of the guards that veto."""
    return tuple(guard.name for guard in guarded if guard.verdict == "veto")


def _metric(rule: GuardRule, old: float | None, new: float | None) -> Guard:
    """Judge one metric. None stands for a version that was trained for a spec without it."""
    known = [value for value in (old, rule.promised) if value is not None]
    measures = f"{rule.measures}; {rule.change}"
    if new is None or not known:
        without = "challenger" if new is None else "champion"
        return Guard(
            name=rule.name, measures=measures, champion=old, challenger=new, change=None,
            limit=rule.limit, verdict="insufficient_data", note=f"the {without} has no such figure",
        )  # fmt: skip
    before = min(known)
    cost = new - before if rule.change.endswith("rise") else before - new
    if rule.change.startswith("relative"):
        cost = cost / abs(before) if before else 0.0  # no relative change from 0
    return Guard(
        name=rule.name, measures=measures,
        champion=old, challenger=new, change=cost, limit=rule.limit,
        verdict="veto" if cost > rule.limit else "ok",
        note="" if rule.promised is None else f"{rule.promised:g} is promised",
    )  # fmt: skip


def _worst_segment(segments: Sequence[Segment], limit: float, metric: str, support: str) -> Guard:
    """Judge the segment with the largest loss.

    A veto needs a loss above the limit with its whole interval below zero. Several small segments
    are compared, and by chance alone one of them often loses a tenth.
    """
    measures = f"{metric} of the worst segment; relative loss"
    judged = [segment for segment in segments if segment.gain is not None]
    left_out = ", ".join(
        f"{segment.name} ({segment.support} {support})"
        for segment in segments
        if segment.gain is None
    )
    note = f"too few {support} to judge: {left_out}" if left_out else ""
    if not judged:
        return Guard(
            name="worst_segment", measures=measures, champion=None, challenger=None, change=None,
            limit=limit, verdict="insufficient_data", note=note or "the data has no segments",
        )  # fmt: skip
    worst = min(judged, key=lambda segment: (not _lost(segment, limit), segment.gain))
    loss = -(worst.gain or 0.0)
    words = [
        f"segment {worst.name}",
        *(["within chance"] if loss > limit and not _lost(worst, limit) else []),
        *([note] if note else []),
    ]
    return Guard(
        name="worst_segment", measures=measures,
        champion=worst.champion, challenger=worst.challenger, change=loss, limit=limit,
        verdict="veto" if _lost(worst, limit) else "ok", note="; ".join(words),
    )  # fmt: skip


def _lost(segment: Segment, limit: float) -> bool:
    return (
        segment.gain is not None
        and segment.high is not None
        and -segment.gain > limit
        and segment.high < 0
    )


def _ratio(
    name: str,
    measures: str,
    old: float,
    new: float,
    limit: float,
    negligible: float,
    negligible_words: str,
) -> Guard:
    ratio = new / old if old > 0 else float(new > 0)
    small = ratio > limit and new <= negligible
    return Guard(
        name=name, measures=f"{measures}; ratio",
        champion=float(old), challenger=float(new), change=ratio, limit=limit,
        verdict="veto" if ratio > limit and not small else "ok",
        note=f"above the limit, but below {negligible_words} it is nothing" if small else "",
    )  # fmt: skip
