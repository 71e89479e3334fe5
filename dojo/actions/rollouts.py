"""Starting a version's rollout by hand, and overruling the controller that moves it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from dojo.actions.desk import Desk, reason
from dojo.actions.errors import NothingToActOnError, ObjectionError
from dojo.actions.registry import require_champion
from dojo.core.registry.promotion import require_champions_traffic
from dojo.core.registry.versions import CHALLENGER
from dojo.core.state.atomic import ConflictError
from dojo.core.state.clock import wall_now
from dojo.core.state.rollouts import Rollout, RolloutRequest

# The controller looks at least once a second. A busy machine may take several times that.
TAKEN_WITHIN_SECONDS = 8.0
POLL_SECONDS = 0.1

Overruling = Literal["pause", "resume", "promote", "abort"]


@dataclass(frozen=True, slots=True)
class StartedRollout:
    """A rollout, and whether this call began it. The same version's active rollout stays."""

    rollout: Rollout
    is_new: bool


@dataclass(frozen=True, slots=True)
class OverruleResult:
    """The result of a request to the controller.

    Attributes:
        taken: Whether the controller took it. If not, it stays noted until a controller runs.
        refusal: Why the request changes nothing. "" when it changes the rollout.
    """

    rollout: Rollout
    taken: bool
    refusal: str


def latest_rollout(desk: Desk, model: str) -> Rollout:
    """The model's rollout, active or over. Raises UnknownModelError, NothingToActOnError."""
    found = desk.rollouts.get(desk.require_model(model))
    if found is None:
        raise NothingToActOnError(
            f"{model}: nothing was rolled out yet", f"dojo rollout start {model} VERSION --why ..."
        )
    return found


def start(
    desk: Desk, model: str, version: str, who: str, why: str, force: bool = False
) -> StartedRollout:
    """Roll a version out. Retraining does the same with a challenger that wins.

    Args:
        force: Also a version that the gate has not found better.

    Raises:
        NothingToActOnError: No version is champion.
        ObjectionError: The gate has not found the version better, without `force`.
        UnsealedVersionError: Its record is not as registered.
        TrafficElsewhereError: Another version than the champion answers.
        RolloutActiveError: Another version is being rolled out.
        UnknownVersionError: The registry does not know the version.
        RegistryUnavailableError: The registry is away.
    """
    spec, why, now = desk.spec(model), reason(why), desk.now()
    challenger = desk.registry.get(model, version)
    champion = require_champion(desk, model)
    verdict = challenger.tags.gate_verdict
    if not challenger.tags.won and not force:
        found = f"said {verdict!r}" if verdict else "has not compared it with the champion"
        raise ObjectionError(
            f"{model}: the gate {found}; only 'improved' versions are rolled out",
            "use --force if you know better",
        )
    desk.registry.require_seal(challenger)
    before = desk.rollouts.get(model)
    if before is None or not before.active:  # otherwise its own route, or a refusal that names it
        require_champions_traffic(desk.routes, model, champion.version)
    rollout = desk.rollouts.start(
        spec, version, champion.version, now, who, why, champion.tags.metrics, again=True
    )
    is_new = before is None or before.id != rollout.id
    if is_new:
        desk.registry.set_alias(model, CHALLENGER, version)
    return StartedRollout(rollout, is_new)


def overrule(desk: Desk, model: str, action: Overruling, who: str, why: str) -> OverruleResult:
    """Leave a request for the controller and wait until it is taken.

    Raises:
        NoRolloutError: Nothing is being rolled out.
        RequestPendingError: Another request waits to be taken.
    """
    request = RolloutRequest(action=action, who=who, why=reason(why), wall_time=wall_now())
    asked = _leave(desk, desk.require_model(model), request)
    deadline = time.monotonic() + TAKEN_WITHIN_SECONDS
    while (
        not (taken := _is_taken(asked, now := latest_rollout(desk, model)))
        and time.monotonic() < deadline
    ):
        time.sleep(POLL_SECONDS)
    step = next((step for step in reversed(now.history) if step.who == who), now.history[-1])
    return OverruleResult(now, taken, step.why if taken and "changes nothing" in step.why else "")


def _leave(desk: Desk, model: str, request: RolloutRequest) -> Rollout:
    """Write a request. The controller writes every second, so it may often be faster."""
    while True:
        try:
            return desk.rollouts.request(model, request)
        except ConflictError:
            continue


def _is_taken(asked: Rollout, now: Rollout) -> bool:
    return now.id != asked.id or now.request is None
