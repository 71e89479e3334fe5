"""What follows from a stage's looks: stay, advance, or roll back. Pure.

Sequential checks stop a challenger at any look, as soon as their e-value says so; the score distribution once there are enough requests.
A stage is passed when every look is ok: too little data, or evidence that may yet become a stop, is insufficient_data and never passes.

Labels may stay away for longer than one watches (chargebacks take days). A watch that only waits for them goes on for twice its time,
then ends and says so: the version has all the traffic already, and nothing spoke against it.
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

# A watch that waits for labels ends after this many times its time.
PATIENCE_FOR_LABELS = 2


@dataclass(frozen=True, slots=True)
class StageJudgement:
    """All looks of a stage, and what to do. `reason` says why in words."""

    looks: tuple[CheckResult, ...]
    decision: Decision
    reason: str


def judge(
    evidence: Evidence, spec: ModelSpec, gate: dict[str, float], elapsed: timedelta | None, caught_up: bool = True
) -> StageJudgement:
    """Look at every check of the evidence's stage.

    Args:
        gate: what the gate measured of the old champion, by metric.
        elapsed: world time in which traffic followed the stage's route (`Evidence.covered`); None while none does.
        caught_up: whether everything written so far was read. A stage does not end on half of its evidence.
    """
    looks = check_results(evidence, spec, gate, elapsed, caught_up)
    failed = [look for look in looks if look.verdict == "failed"]
    if failed:
        return StageJudgement(looks, "roll_back", "; ".join(in_words(look) for look in failed))
    waiting = [look.check for look in looks if look.verdict != "ok"]
    if not waiting:
        return StageJudgement(looks, "advance", f"all {len(looks)} checks of {evidence.stage} are ok")
    if evidence.stage is Stage.WATCH and elapsed is not None and elapsed >= PATIENCE_FOR_LABELS * spec.rollout.watch_time:
        by_labels = label_tests(gate, spec)
        unlabelled = {
            look.check for look in looks if look.check in by_labels and (look.requests < look.needed or look.value is None)
        }
        if unlabelled.issuperset(waiting):
            return StageJudgement(
                looks,
                "end_unlabelled",
                f"nothing failed in twice the watch time, but too few labels for {' and '.join(waiting)}",
            )
    return StageJudgement(looks, "stay", f"waiting for {', '.join(waiting)}")


def in_words(look: CheckResult) -> str:
    """One look as a sentence: `errors: 20.1 % of 412 requests, limit 0.5 %, e-value 55 of 40`."""
    value = "nothing measured" if look.value is None else look.shown(look.value)
    limit = "" if look.limit is None else f", limit {look.shown(look.limit)}"
    evidence = "" if look.evidence is None else f", e-value {look.evidence:.3g} of {look.stops_at:.3g}"
    return f"{look.check}: {value} ({look.measures}) on {look.requests} requests{limit}{evidence}"
