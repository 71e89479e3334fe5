"""The effect of a person's request on a rollout. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dojo.core.judging.rollout.stages import Stage
from dojo.core.state.rollouts import Rollout, RolloutRequest


@dataclass(frozen=True, slots=True)
class Taken:
    """The stage after the request, which may be the same one, and the new pause.

    Attributes:
        overrules: Whether the rollout goes on in spite of a spent error budget.
    """

    after: Stage
    paused: bool
    who: str
    why: str
    overrules: bool = False


def answer(rollout: Rollout) -> Taken:
    """Take the rollout's request.

        pause     stay in the stage after any result; checks continue, and may still roll back
        resume    go on, also with a spent error budget
        promote   skip the waiting: from shadow or canary to all traffic, from watch to done
        abort     back to the champion
        approve   begin, where approval is required

    A request that makes no sense in the stage changes nothing, and is noted in the history.

    Raises:
        ValueError: There is no request.
    """
    request = rollout.request
    if request is None:
        raise ValueError(f"{rollout.id} has no request")
    stage, paused = rollout.stage, rollout.paused
    match request.action, stage:
        case "pause" | "resume", _:
            return _taken(request, stage, request.action == "pause")
        case "abort", Stage.AWAITING_APPROVAL:  # nothing to change back yet
            return _taken(request, Stage.ROLLED_BACK, False)
        case "abort", Stage.ROLLING_BACK:
            return _refused(request, stage, paused)
        case "abort", _:
            return _taken(request, Stage.ROLLING_BACK, False)
        case "promote", Stage.SHADOW | Stage.CANARY:
            return _taken(request, Stage.PROMOTING, False)
        case "promote", Stage.WATCH:
            return _taken(request, Stage.DONE, False)
        case "approve", Stage.AWAITING_APPROVAL:
            return _taken(request, Stage.SHADOW, paused)
        case _:
            return _refused(request, stage, paused)


_DONE = {
    "pause": "paused",
    "resume": "resumed",
    "promote": "promoted by hand",
    "abort": "aborted",
    "approve": "approved",
}


def _taken(request: RolloutRequest, after: Stage, paused: bool) -> Taken:
    return Taken(
        after,
        paused,
        request.who,
        f"{_DONE[request.action]} by {request.who}: {request.why}",
        overrules=request.action in ("resume", "promote"),
    )


def _refused(request: RolloutRequest, stage: Stage, paused: bool) -> Taken:
    return Taken(
        stage,
        paused,
        request.who,
        f"{request.action} by {request.who} changes nothing while {stage}: {request.why}",
    )
