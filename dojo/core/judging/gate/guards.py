"""What a challenger that wins on the primary metric may still not cost (spec.gate.guards): pure functions, one verdict each."""

from __future__ import annotations

from collections.abc import Sequence

from dojo.core.judging.gate.decision import SHORT_NAMES, Contender, Guard, Segment
from dojo.core.spec.load import ModelSpec

# A share of the latency objective, and a size in bytes, below which being several times slower or larger is nothing.
NEGLIGIBLE_LATENCY = 0.01  # of serving.latency_slo: half a millisecond of 50
NEGLIGIBLE_SIZE = 1_000_000


def guards(spec: ModelSpec, champion: Contender, challenger: Contender, segments: Sequence[Segment]) -> tuple[Guard, ...]:
    """Every guard's verdict, in the spec's order."""
    limits, old, new = spec.gate.guards, champion.metrics, challenger.metrics
    losses = {
        "precision_at_1pct_fpr": ("precision when 1 % of negatives are flagged", limits.precision_at_1pct_fpr),
        "recall_at_50pct_precision": ("recall when half of the flagged are positive", limits.recall_at_50pct_precision),
    }
    slow_enough = NEGLIGIBLE_LATENCY * spec.serving.latency_slo.total_seconds()
    return (
        *(_relative_loss(name, measures, old[name], new[name], limit) for name, (measures, limit) in losses.items()),
        _calibration(old["expected_calibration_error"], new["expected_calibration_error"], limits.calibration),
        _worst_segment(segments, limits.worst_segment, SHORT_NAMES[spec.gate.primary_metric]),
        _ratio("latency", "time to score one row", champion.latency_seconds, challenger.latency_seconds,
               limits.latency, slow_enough, f"{slow_enough * 1000:g} ms"),
        _ratio("size", "model file, bytes", champion.size_bytes, challenger.size_bytes,
               limits.size, NEGLIGIBLE_SIZE, f"{NEGLIGIBLE_SIZE / 1e6:g} MB"),
    )  # fmt: skip


def _relative_loss(name: str, measures: str, old: float, new: float, limit: float) -> Guard:
    loss = (old - new) / old if old > 0 else 0.0  # there is nothing to lose from nothing
    return Guard(
        name=name, measures=f"{measures}; relative loss", champion=old, challenger=new, change=loss, limit=limit,
        verdict="veto" if loss > limit else "ok",
    )  # fmt: skip


def _calibration(old: float, new: float, limit: float) -> Guard:
    return Guard(
        name="calibration", measures="expected calibration error; absolute rise", champion=old, challenger=new,
        change=new - old, limit=limit, verdict="veto" if new - old > limit else "ok",
    )  # fmt: skip


def _worst_segment(segments: Sequence[Segment], limit: float, metric: str) -> Guard:
    """The judged segment that loses most; a veto needs a loss above the limit that is no accident of a few positives.

    Several small segments are looked at and the worst one taken: by chance alone one of them often loses a tenth.
    """
    measures = f"{metric} of the worst segment; relative loss"
    judged = [segment for segment in segments if segment.gain is not None]
    left_out = ", ".join(f"{segment.name} ({segment.positives} positives)" for segment in segments if segment.gain is None)
    note = f"too few positives to judge: {left_out}" if left_out else ""
    if not judged:
        return Guard(name="worst_segment", measures=measures, champion=None, challenger=None, change=None, limit=limit,
                     verdict="insufficient_data", note=note or "the data has no segments")  # fmt: skip
    worst = min(judged, key=lambda segment: (not _lost(segment, limit), segment.gain))
    loss = -(worst.gain or 0.0)
    words = [
        f"segment {worst.name}",
        *(["within chance"] if loss > limit and not _lost(worst, limit) else []),
        *([note] if note else []),
    ]
    return Guard(
        name="worst_segment", measures=measures, champion=worst.champion, challenger=worst.challenger, change=loss, limit=limit,
        verdict="veto" if _lost(worst, limit) else "ok", note="; ".join(words),
    )  # fmt: skip


def _lost(segment: Segment, limit: float) -> bool:
    return segment.gain is not None and segment.high is not None and -segment.gain > limit and segment.high < 0


def _ratio(name: str, measures: str, old: float, new: float, limit: float, negligible: float, negligible_words: str) -> Guard:
    ratio = new / old if old > 0 else float(new > 0)
    small = ratio > limit and new <= negligible
    return Guard(
        name=name, measures=f"{measures}; ratio", champion=float(old), challenger=float(new), change=ratio, limit=limit,
        verdict="veto" if ratio > limit and not small else "ok", note=f"above the limit, but below {negligible_words} it is nothing" if small else "",
    )  # fmt: skip
