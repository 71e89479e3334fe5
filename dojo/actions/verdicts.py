"""A person's judgement of the monitor's verdicts."""

from __future__ import annotations

from dojo.actions.desk import Desk, reason
from dojo.actions.errors import NothingToActOnError
from dojo.core.state.verdict_marks import Mark, VerdictMarks


def mark_false_alarm(desk: Desk, model: str, verdict_id: str, who: str, why: str) -> Mark:
    """Say that a verdict was a false alarm. The verdict stays, and the audit trail has the mark.

    Raises:
        NothingToActOnError: The verdict is not among the model's latest troubles.
    """
    marks, why = VerdictMarks(desk.redis), reason(why)
    found = next(
        (
            verdict
            for verdict in marks.troubles(desk.require_model(model))
            if verdict.event_id == verdict_id
        ),
        None,
    )
    if found is None:
        raise NothingToActOnError(
            f"{model} has no verdict {verdict_id} among its latest troubles",
            f"dojo drift show {model}",
        )
    mark = Mark(verdict=found, kind="false_alarm", who=who, why=why, world_time=desk.now_if_set())
    marks.add(mark)
    desk.audit.append(
        entry_id=f"drift-mark:{verdict_id}",
        kind="drift",
        model=model,
        who=who,
        what=f"{found.check} {found.severity} of version {found.version} marked as a false alarm",
        why=why,
        before=None,
        after={"verdict": verdict_id, "summary": found.summary},
        world_time=mark.world_time,
    )
    return mark
