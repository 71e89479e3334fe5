"""A drill from its start to its end.

    armed -> injected -> witnessed -> paged -> closed
                                            -> stopped
          -> invalid, where the fault did not act, or no page came

Every state is written down before the next step, and any command can end the drill from it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from pydantic import TypeAdapter
from redis.exceptions import RedisError

from dojo.actions.desk import Desk
from dojo.actions.errors import NothingToActOnError, PartlyDoneError
from dojo.core.state.clock import ClockNotSetError
from dojo.core.state.inbox import KEPT, Inbox, Message, is_resolved
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt
from dojo.drills.faults.table import Fault
from dojo.drills.record import DrillRun, Records, Step
from dojo.drills.running.needs import lacking
from dojo.drills.running.probes import callers, firing, measure_all
from dojo.drills.running.store_probes import keys
from dojo.drills.scoring.timeline import keep_around
from dojo.drills.seal import new_salt, seal
from dojo.drills.spec import Condition, DrillSpec
from dojo.stack.control import process_of, running

Tell = Callable[[str], None]

# Between two measurements, wall seconds.
LOOK_SECONDS = 0.5


class InvalidDrillError(RuntimeError):
    """The drill did not become one: no harm was seen, or no page came. It was undone."""


def start(desk: Desk, spec: DrillSpec, tell: Tell) -> DrillRun:
    """Inject a drill's fault, and return when the person is paged.

    Args:
        tell: Takes progress that gives nothing away.

    Raises:
        ActionRefusedError: The stack is not fit for a drill. Nothing was changed.
        InvalidDrillError: No harm was seen in time, or no page came. It was undone.
    """
    records = Records(desk.settings.home)
    _require_fit(desk, records, spec)
    salt = new_salt()
    run = DrillRun(
        number=records.next_number(),
        drill=spec.id,
        salt=salt,
        seal=seal(spec.id, salt),
        speed_before=desk.clock.speed(),
    )
    records.begin(run)
    try:
        records.note_lake(run, desk.settings.lake_dir)
        _expose(desk, records, run, spec, tell)
    except BaseException as error:
        run.reason = str(error) or type(error).__name__
        records.mark(run, "ended", "invalid")
        finish(desk, records, run)
        if not isinstance(error, Exception):  # Ctrl-C, or a signal
            tell("interrupted: what was injected is undone")
        raise
    return run


def _require_fit(desk: Desk, records: Records, spec: DrillSpec) -> None:
    if (other := records.open()) is not None:
        raise NothingToActOnError(
            f"drill {other.number} is open", "dojo drill resolve, or dojo drill stop"
        )
    stack = running(desk.settings.home)
    if stack is None:
        raise NothingToActOnError("no stack runs here", "dojo up")
    ill = [process.name for process in stack.processes if process.state.value != "healthy"]
    if ill:
        raise NothingToActOnError(
            f"not healthy: {', '.join(ill)}. A drill begins with a healthy stack", "dojo status"
        )
    if not any(process.name == "prometheus" for process in stack.processes):
        raise NothingToActOnError(
            f"this stack has no Prometheus, and the page is the alert {spec.page.alerts[0]}",
            "dojo doctor says what it lacks",
        )
    if desk.clock.speed() == 0:
        raise NothingToActOnError("the world is paused, so nothing happens", "dojo world resume")
    if known := [alert for alert in spec.page.alerts if firing(desk, alert)]:
        raise NothingToActOnError(
            f"{', '.join(known)} fires already, so nothing new would be told", "dojo alerts"
        )
    if (lack := lacking(desk, spec.needs)) is not None:
        raise NothingToActOnError(*lack)
    if spec.witness.holds(measure_all(desk, spec.witness)):
        raise NothingToActOnError(
            "the harm that this drill brings is there already", "dojo status, dojo alerts"
        )


def _expose(desk: Desk, records: Records, run: DrillRun, spec: DrillSpec, tell: Tell) -> None:
    tell(f"sealed: {run.seal}")
    desk.clock.set_speed(spec.pace.incubate)
    run.since = desk.clock.now()
    for fault in spec.faults:
        _inject(desk, records, run, fault)
    records.mark(run, "injected", "injected")
    start_watch(desk, run)
    tell("waiting until harm is seen")
    if not wait(spec.witness, lambda: measure_all(desk, spec.witness)):
        raise InvalidDrillError("no harm was seen in time, so this is no drill")
    records.mark(run, "witnessed", "witnessed")
    desk.clock.set_speed(spec.pace.hold)
    tell("waiting for the page")
    page = _page(desk, run, spec)
    if page is None:
        raise InvalidDrillError("the harm was seen, and no page came in time")
    _count(desk, run, "page")
    records.mark(run, "paged", "paged")
    tell(f"PAGE for {page.to}: {page.title}")


def _inject(desk: Desk, records: Records, run: DrillRun, fault: Injection) -> None:
    step = Step(fault=fault.model_dump(mode="json"))

    def write_down(receipt: Receipt) -> None:
        step.receipt = receipt
        if not any(one is step for one in run.steps):
            run.steps.append(step)
        records.write(run)

    try:
        fault.inject(desk.settings, write_down)
    except FaultRefusedError as error:
        raise InvalidDrillError(str(error)) from error


def fault_of(step: Step) -> Injection:
    """Return what a step injected, with its parameters."""
    fault: Injection = TypeAdapter(Fault).validate_python(step.fault)
    return fault


def _count(desk: Desk, run: DrillRun, moment: str) -> None:
    """Write down what callers got and what the online store has, as far as it can be counted."""
    if (counted := callers(desk)) is not None:
        run.unanswered[moment] = counted
    with suppress(RedisError):
        run.keys[moment] = keys(desk)


def start_watch(desk: Desk, run: DrillRun) -> None:
    """Start the process that measures the outcome until the run ends."""
    command = [sys.executable, "-m", "dojo.drills.running.watch", str(run.number)]
    nothing = subprocess.DEVNULL
    subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)


def wait(condition: Condition, values: Callable[[], Sequence[float | None]]) -> bool:
    """Wait until a condition has held without a break. False if it has not begun to in time."""
    begun, since = time.monotonic(), None
    while True:
        now = time.monotonic()
        if condition.holds(values()):
            since = now if since is None else since
            if now - since >= condition.lasting.total_seconds():
                return True
        else:
            since = None
            if now - begun > condition.within.total_seconds():
                return False
        time.sleep(LOOK_SECONDS)


def _page(desk: Desk, run: DrillRun, spec: DrillSpec) -> Message | None:
    end = time.monotonic() + spec.page.within.total_seconds()
    while time.monotonic() < end:
        for message in Inbox(desk.redis).newest(KEPT):
            if message.wall_time < run.marks["injected"]:
                break
            if is_resolved(message):
                continue
            if told := [alert for alert in spec.page.alerts if is_about(message, alert)]:
                run.alert = told[0]
                return message
        time.sleep(LOOK_SECONDS)
    return None


def is_about(message: Message, alert: str) -> bool:
    """Return whether a message tells of an alert. Its text names it (services/receiver)."""
    return f"{alert} (" in message.text or message.text.endswith(f"dojo runbook {alert}")


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
    if any(
        is_about(one, run.alert) and is_resolved(one) and one.wall_time > run.marks["paged"]
        for one in Inbox(desk.redis).newest(KEPT)
    ):
        records.mark(run, "alert_resolved")
    _count(desk, run, "end")
    run.reason = ""
    records.mark(run, "closed", "closed")
    run.left = leftovers(desk, run)
    run.lost = records.lost_from(run, desk.settings.lake_dir)
    finish(desk, records, run)
    return True


def _restart(desk: Desk, name: str) -> None:
    if (process := process_of(desk.settings.home, name)) is not None:
        process.kill()
        process.wait(10)


def leftovers(desk: Desk, run: DrillRun) -> list[str]:
    """Return what of the injected things still exists."""
    found = (fault_of(step).left(desk.settings, step.receipt) for step in run.steps)
    return [one for one in found if one]


def stop(desk: Desk) -> DrillRun:
    """End the open drill from any state, and undo what it injected.

    Raises:
        NothingToActOnError: No drill is open.
        ActionRefusedError: Something could not be undone. The drill stays open.
    """
    records = Records(desk.settings.home)
    run = records.open()
    if run is None:
        raise NothingToActOnError("no drill is open", "dojo drill list")
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
    return run


def _missing(desk: Desk, condition: Condition) -> str:
    """Return which bounds do not hold, with what is measured."""
    found = zip(condition.bounds, measure_all(desk, condition), strict=True)
    wrong = [f"{b.measured} is {_said(value)}" for b, value in found if not b.holds(value)]
    return "; ".join(wrong) or "it did not last"


def _said(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}"
