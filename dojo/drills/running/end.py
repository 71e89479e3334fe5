"""The end of a drill: the outcome must last, and everything that was injected is undone."""

from __future__ import annotations

from contextlib import suppress

from redis.exceptions import RedisError

from dojo.actions.desk import Desk
from dojo.actions.errors import NothingToActOnError, PartlyDoneError
from dojo.core.state.clock import ClockNotSetError
from dojo.core.state.inbox import KEPT, Inbox, is_resolved
from dojo.drills.record import OPEN_STATES, DrillRun, Records
from dojo.drills.running.probes import firing, measure_all
from dojo.drills.running.steps import Tell, count_losses, fault_of, is_about, wait
from dojo.drills.scoring.timeline import keep_around
from dojo.drills.spec import Condition, DrillSpec
from dojo.stack.control import process_of


def resolve(desk: Desk, run: DrillRun, spec: DrillSpec, tell: Tell) -> bool:
    """Check that the harm is over, and close the drill. False leaves it open, with the reason.

    The outcome must last. Where the drill has a replay, it must survive that too.
    """
    records = Records(desk.settings.home)
    records.mark(run, "resolve_asked")
    tell(f"watching for {spec.outcome.lasting.total_seconds():g} s")
    if not wait(spec.outcome, lambda: measure_all(desk, spec.outcome)):
        run.reason = _missing(desk, spec.outcome)
        records.write(run)
        return False
    records.mark(run, "held")
    if spec.replay:
        tell(f"and once more, after a restart of {spec.replay}")
        _restart(desk, spec.replay)
        if wait(spec.outcome, lambda: measure_all(desk, spec.outcome)):
            records.mark(run, "replayed")
    if _has_ended(desk, run, spec):
        records.mark(run, "alert_resolved")
    count_losses(desk, run, "end")
    run.reason = ""
    records.mark(run, "closed", "closed")
    run.left = leftovers(desk, run, spec)
    run.lost = records.lost_from(run, desk.settings.lake_dir)
    finish(desk, records, run)
    return True


def _has_ended(desk: Desk, run: DrillRun, spec: DrillSpec) -> bool:
    """Return whether the page was told as resolved. Without a page none of its alerts may fire."""
    if not run.alert:
        return not any(firing(desk, alert) for alert in spec.page.alerts)
    return any(
        is_about(one, run.alert) and is_resolved(one) and one.wall_time > run.marks["paged"]
        for one in Inbox(desk.redis).newest(KEPT)
    )


def _restart(desk: Desk, name: str) -> None:
    if (process := process_of(desk.settings.home, name)) is not None:
        process.kill()
        process.wait(10)


def leftovers(desk: Desk, run: DrillRun, spec: DrillSpec) -> list[str]:
    """Return what of the injected things still exists, and should not."""
    found = (
        fault_of(step).left(desk.settings, step.receipt)
        for step in run.steps
        if step.fault["kind"] not in spec.may_stay
    )
    return [one for one in found if one]


def stop(desk: Desk, why: str = "") -> DrillRun:
    """End the open drill from any state, and undo what it injected.

    Args:
        why: The reason that the report gives.

    Raises:
        NothingToActOnError: No drill is open.
        ActionRefusedError: Something could not be undone. The drill stays open.
    """
    records = Records(desk.settings.home)
    run = records.open()
    if run is None:
        raise NothingToActOnError("no drill is open", "dojo drill list")
    run.reason = why or run.reason
    records.mark(run, "ended", "stopped")
    finish(desk, records, run)
    return run


def finish(desk: Desk, records: Records, run: DrillRun) -> None:
    """Undo every step, each independently of the others, and end the run.

    Raises:
        ActionRefusedError: A step could not be undone. The run stays open, so it can be repeated.
    """
    failed = []
    for step in reversed(run.steps):
        if step.undone:
            continue
        try:
            fault_of(step).undo(desk.settings, step.receipt)
            step.undone = True
        except Exception as error:  # each step on its own
            failed.append(f"{step.fault['kind']}: {error}")
    records.write(run)
    with suppress(RedisError):
        keep_around(desk, run, records.directory(run.number))
    with suppress(RedisError, ClockNotSetError):  # a Redis that is away keeps the speed
        desk.clock.set_speed(run.speed_before)
    if failed:
        raise PartlyDoneError(f"not undone: {'; '.join(failed)}", "dojo drill stop, once more")
    records.end()


def open_run(desk: Desk) -> DrillRun:
    """Return the open run.

    Raises:
        NothingToActOnError: There is none.
    """
    run = Records(desk.settings.home).open()
    if run is None:
        raise NothingToActOnError("no drill is open", "dojo drill start NAME")
    if run.state not in OPEN_STATES:
        raise NothingToActOnError(f"drill {run.number} is ending", "dojo drill report, in a moment")
    return run


def _missing(desk: Desk, condition: Condition) -> str:
    """Return which bounds do not hold, with what is measured."""
    found = zip(condition.bounds, measure_all(desk, condition), strict=True)
    wrong = [f"{b.measured} is {_said(value)}" for b, value in found if not b.holds(value)]
    return "; ".join(wrong) or "it did not last"


def _said(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}"
