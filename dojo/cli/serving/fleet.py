"""`dojo models`: the fleet, one line per model, the worst first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import CommandContext
from dojo.cli.output import out, print_json
from dojo.core.judging.rollout.stages import Stage
from dojo.core.severity import ORDER, Severity, marked

if TYPE_CHECKING:
    from dojo.actions.desk import Desk
    from dojo.core.events.types import Verdict
    from dojo.core.state.responder_control import Control
    from dojo.core.state.rollouts import Rollout
    from dojo.core.state.routes import Arm, Route
    from services.responder.state import ModelState

MODEL_ITSELF = "-"  # the version of a verdict about no version

WRONG_SPEC = "its spec is wrong, and processes start without it"
NO_VERSION = "no version yet: the fallback answers"


class FleetLine(msgspec.Struct, frozen=True, kw_only=True):
    """How one model is doing.

    Attributes:
        serving: The versions that answer, such as `3` or `3 90%, 4 10%`. Empty without a version.
        task: The kind of prediction. Empty while the spec is wrong.
        severity: The worst of the latest verdicts on these versions and on the model itself.
        wrong: What the worst verdict says. Empty when nothing is wrong.
        doing: What is under way, or why nothing is done about what is wrong. Empty without either.
    """

    model: str
    owner: str
    task: str
    serving: str
    severity: Severity
    wrong: str
    doing: str


def show(as_json: bool) -> bool:
    """Show the fleet once. Returns whether more looks make sense."""
    with CommandContext() as here:
        found = look(here)
    if as_json:
        print_json(found)
        return False
    out.print(fleet_table(found))
    return True


def fleet_table(lines: Iterable[FleetLine]) -> Table:
    table = Table("model", "owner", "serving", "state", "what is wrong", "what is done about it")
    for one in lines:
        table.add_row(
            escape(one.model),
            escape(one.owner),
            escape(one.serving) or "-",
            marked(one.severity),
            escape(one.wrong) or "-",
            escape(one.doing) or "-",
        )
    return table


def look(here: Desk) -> list[FleetLine]:
    """Return how each model that runs is doing, the worst first.

    A model with a wrong spec is critical, and what is wrong is the spec.

    Raises:
        SpecError: No spec is right.
        redis.RedisError: Redis is out of reach.
    """
    from dojo.core.state.error_budget import STOPPED, why_stopped
    from dojo.core.state.responder_control import read_control
    from feature_repo.specs import load
    from services.monitor.judging.records import MonitorRecords
    from services.responder.state import StateStore

    records = MonitorRecords(here.redis, here.settings.stream_max_length)
    control, now = read_control(here.redis), here.now_if_set()
    found = []
    loaded = load(here.settings)
    for model, fault in loaded.faults.items():
        found.append(
            FleetLine(
                model=model,
                owner=here.owner(model),
                task="",
                serving=_serving(here.routes.get(model)),
                severity="critical",
                wrong=f"{WRONG_SPEC}: {fault}",
                doing=_doing_with_a_wrong_spec(here.rollouts.get(model)),
            )
        )
    for model, spec in loaded.specs.items():
        route = here.routes.get(model)
        worst = _worst(records.latest(model).values(), route)
        wrong, severity = _wrong(route, worst)
        is_stopped = now is not None and why_stopped(here.redis, spec, now)
        found.append(
            FleetLine(
                model=model,
                owner=spec.owner,
                task=spec.task,
                serving=_serving(route),
                severity=severity,
                wrong=wrong,
                doing=_doing(
                    here.rollouts.get(model),
                    StateStore(here.redis).load(model),
                    worst,
                    control,
                    STOPPED if is_stopped else "",
                ),
            )
        )
    return sorted(
        found,
        key=lambda one: (-ORDER.index(one.severity), one.model not in loaded.faults, one.model),
    )


def _answering(route: Route | None) -> list[Arm]:
    """The arms with traffic: no shadow, and no old champion that is kept warm."""
    arms = route.arms if route else ()
    return [arm for arm in arms if arm.mode == "live" and arm.weight > 0]


def _serving(route: Route | None) -> str:
    arms = _answering(route)
    if len(arms) == 1:
        return arms[0].version
    return ", ".join(f"{arm.version} {arm.weight:.0%}" for arm in arms)


def _worst(verdicts: Iterable[Verdict], route: Route | None) -> Verdict | None:
    """The worst verdict on a version with traffic or on the model, the newest of these."""
    of = {MODEL_ITSELF, *(arm.version for arm in _answering(route))}
    judged = [verdict for verdict in verdicts if verdict.version in of]
    return max(judged, key=lambda one: (ORDER.index(one.severity), one.window_start), default=None)


def _wrong(route: Route | None, worst: Verdict | None) -> tuple[str, Severity]:
    if route is None:
        return NO_VERSION, "critical"
    if worst is None:
        return "nothing was judged yet", "insufficient_data"
    if worst.severity in ("ok", "insufficient_data"):
        return "", worst.severity
    since = f", since {worst.since:%Y-%m-%d %H:%M}" if worst.since else ""
    of = "" if worst.version == MODEL_ITSELF else f" of version {worst.version}"
    return f"{worst.check}{of}: {worst.summary}{since}", worst.severity


def _doing(
    rollout: Rollout | None,
    state: ModelState,
    worst: Verdict | None,
    control: Control,
    stopped: str,
) -> str:
    """The action under way, else what holds back an action on the worst trouble.

    Args:
        stopped: What the error budget stops, "" while it stops nothing.
    """
    said = [stopped] if stopped else []
    if rollout is not None and rollout.active:
        stage = f"{rollout.stage}{', paused' if rollout.paused else ''}"
        if rollout.stage is Stage.AWAITING_APPROVAL:
            stage = f"waits for dojo rollout approve {rollout.model}"
        said.append(f"rollout of version {rollout.version}: {stage}")
    said += [
        f"{action.kind} since {action.begun:%Y-%m-%d %H:%M}"
        + (f", waits: {action.waits}" if action.waits else "")
        for action in state.under_way
    ]
    if not said and (pause := control.pause_of(state.model)) is not None:
        return f"nothing: the responder is paused by {pause.who}: {pause.why}"
    if not said and worst is not None:
        said = _held(state, worst)
    return "; ".join(said)


def _doing_with_a_wrong_spec(rollout: Rollout | None) -> str:
    said = "nothing: its owner corrects the file, then dojo config apply"
    if rollout is None or not rollout.active:
        return said
    return f"{said}; the rollout of version {rollout.version} ({rollout.stage}) stands still"


def _held(state: ModelState, worst: Verdict) -> list[str]:
    trouble = state.troubles.get(f"{worst.version}/{worst.check}")
    if trouble is None:
        return []
    return [f"nothing: {trouble.held}"] if trouble.held else ["its owner was told"]
