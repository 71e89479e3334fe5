"""The start of a drill: is the stack fit, the injection, the witness and the page.

    armed -> injected -> witnessed -> paged -> closed
                                            -> stopped
          -> invalid, where the fault did not act, or no page came

Every state is written down before the next step, and any command can end the drill from it.
"""

from __future__ import annotations

import subprocess
import sys
import time

from dojo.actions.desk import Desk
from dojo.actions.errors import NothingToActOnError
from dojo.core.state.clock import wall_now
from dojo.core.state.inbox import KEPT, Inbox, Message, is_resolved
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt
from dojo.drills.record import DrillRun, Records, Step
from dojo.drills.running.end import finish
from dojo.drills.running.needs import lacking
from dojo.drills.running.probes import firing, measure_all
from dojo.drills.running.steps import LOOK_SECONDS, Tell, count_losses, is_about, wait
from dojo.drills.running.terms import PLAIN, Terms, after_harm, before_harm
from dojo.drills.seal import new_salt, seal
from dojo.drills.spec import DrillSpec
from dojo.stack.control import running


class InvalidDrillError(RuntimeError):
    """The drill did not become one: no harm was seen, or no page came. It was undone."""


def start(desk: Desk, spec: DrillSpec, tell: Tell, terms: Terms = PLAIN) -> DrillRun:
    """Inject a drill's fault, and return when the person is paged.

    Args:
        tell: Takes progress that gives nothing away.
        terms: What is harder than usual.

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
        _expose(desk, records, run, spec, terms, tell)
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


def _expose(
    desk: Desk, records: Records, run: DrillRun, spec: DrillSpec, terms: Terms, tell: Tell
) -> None:
    tell(f"sealed: {run.seal}")
    for fault in before_harm(terms, spec):
        _inject(desk, records, run, fault)
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
    for fault in after_harm(terms):
        _inject(desk, records, run, fault)
    told = "Harm is there, and no page is waited for. Find out what it is."
    if not terms.unpaged:
        tell("waiting for the page")
        page = _page(desk, run, spec)
        if page is None:
            raise InvalidDrillError("the harm was seen, and no page came in time")
        told = f"PAGE for {page.to}: {page.title}"
    count_losses(desk, run, "page")
    if terms.limit is not None:
        run.ends = wall_now() + terms.limit
    records.mark(run, "paged", "paged")
    tell(told)


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


def start_watch(desk: Desk, run: DrillRun) -> None:
    """Start the process that measures the outcome until the run ends."""
    command = [sys.executable, "-m", "dojo.drills.running.watch", str(run.number)]
    nothing = subprocess.DEVNULL
    subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)


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
