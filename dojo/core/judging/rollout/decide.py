"""The decision after a stage's looks: stay, advance, or roll back. Pure.

Sequential checks stop a challenger at any look, as soon as their e-value is high enough. The score
distribution can stop it once there are enough requests. A stage is passed when every look is ok.
Too little data is insufficient_data and never passes. The same holds for evidence that may yet
become a stop.

Labels may take longer than the watch. Chargebacks take days, for example. A watch that waits only
for labels goes on for twice its time. It then ends and says so. The version already has all the
traffic, and no check has spoken against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from dojo.core.judging.rollout.checks import check_results
from dojo.core.judging.rollout.evidence import Evidence
from dojo.core.judging.rollout.limits import label_tests
from dojo.core.judging.rollout.stages import CheckResult, Stage
from dojo.core.spec.schema import ModelSpec

Decision = Literal["stay", "advance", "end_unlabelled", "roll_back"]

# A watch that waits for labels ends after this multiple of its own time.
PATIENCE_FOR_LABELS = 2


@dataclass(frozen=True, slots=True)
class StageJudgement:
    """All looks of a stage and the decision.

    Attributes:
        looks: The result of each check.
        decision: The decision.
        reason: The decision's reason in words.
    """

    looks: tuple[CheckResult, ...]
    decision: Decision
    reason: str


def judge(
    evidence: Evidence,
    spec: ModelSpec,
    gate: dict[str, float],
    elapsed: timedelta | None,
    caught_up: bool = True,
) -> StageJudgement:
    """Look at every check of the evidence's stage and decide.

    Args:
        evidence: The stage's evidence so far.
        spec: The model's spec.
        gate: The gate's figures of the old champion, by metric.
        elapsed: World time in which traffic followed the stage's route (`Evidence.covered`). None
            before any traffic follows it.
        caught_up: True when everything written so far was read. A stage must not end on half of its
            evidence.
    """
    looks = check_results(evidence, spec, gate, elapsed, caught_up)
    failed = [look for look in looks if look.verdict == "failed"]
    if failed:
        return StageJudgement(looks, "roll_back", "; ".join(in_words(look) for look in failed))
    waiting = [look.check for look in looks if look.verdict != "ok"]
    if not waiting:
        return StageJudgement(
            looks, "advance", f"all {len(looks)} checks of {evidence.stage} are ok"
        )
    if (
        evidence.stage is Stage.WATCH
        and elapsed is not None
        and elapsed >= PATIENCE_FOR_LABELS * spec.rollout.watch_time
    ):
        by_labels = label_tests(gate, spec)
        unlabelled = {
            look.check
            for look in looks
            if look.check in by_labels and (look.requests < look.needed or look.value is None)
        }
        if unlabelled.issuperset(waiting):
            return StageJudgement(
                looks,
                "end_unlabelled",
                "nothing failed in twice the watch time, but too few labels for"
                f" {' and '.join(waiting)}",
            )
    return StageJudgement(looks, "stay", f"waiting for {', '.join(waiting)}")


def in_words(look: CheckResult) -> str:
    """Return one look as a sentence.

    Example: `errors: 20.1 % (share failed) on 412 requests, limit 0.5 %, e-value 55 of 40`.
    """
    value = "nothing measured" if look.value is None else look.shown(look.value)
    limit = "" if look.limit is None else f", limit {look.shown(look.limit)}"
    evidence = (
        "" if look.evidence is None else f", e-value {look.evidence:.3g} of {look.stops_at:.3g}"
    )
    return f"{look.check}: {value} ({look.measures}) on {look.requests} requests{limit}{evidence}"
