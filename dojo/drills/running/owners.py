"""Owners outside the platform. They end what is theirs once they are told enough to find it.

No person and no language model plays them. The drill's file says who must be told what, and how
exactly. Everything else gets the answer that a real team would give.
"""

from __future__ import annotations

from datetime import datetime

from dojo.actions.desk import Desk
from dojo.actions.errors import NothingToActOnError
from dojo.core.state.clock import wall_now
from dojo.drills.record import DrillRun, Records, Step, Told
from dojo.drills.running.steps import fault_of
from dojo.drills.spec import DrillSpec


def tell_owner(
    desk: Desk, run: DrillRun, spec: DrillSpec, team: str, mechanism: str, since: datetime
) -> str:
    """Tell a team, and return its answer. The right one ends the fault.

    Args:
        since: World time.

    Raises:
        NothingToActOnError: It was ended before.
    """
    if any(one.mended for one in run.told):
        raise NothingToActOnError("it is mended already", "dojo drill resolve")
    reply, step = _reply(run, spec, team, mechanism, since)
    run.told.append(
        Told(at=wall_now(), team=team, mechanism=mechanism, since=since, mended=step is not None)
    )
    Records(desk.settings.home).write(run)
    if step is not None:
        fault_of(step).undo(desk.settings, step.receipt)
        step.undone = True
        Records(desk.settings.home).mark(run, "mended")
    return f"{team}: {reply}"


def _reply(
    run: DrillRun, spec: DrillSpec, team: str, mechanism: str, since: datetime
) -> tuple[str, Step | None]:
    """Return the answer, and what the owner ends. Pure."""
    if spec.owner is None or run.since is None or team != spec.owner.team:
        return "nothing changed here. It is not ours.", None
    if mechanism != spec.answer.mechanism:
        return f"we see no {mechanism} here. What exactly is wrong with the data?", None
    if abs(since - run.since) > spec.owner.since_within:
        return "nothing was released then. Since when, in world time?", None
    return (
        "found it, thank you. It is mended from now on. Sent data stay as they are.",
        _theirs(run, spec),
    )


def _theirs(run: DrillRun, spec: DrillSpec) -> Step:
    """Return the step of the drill's first fault. What made it harder may stand before."""
    written = spec.faults[0].model_dump(mode="json")
    return next(step for step in run.steps if step.fault == written)
