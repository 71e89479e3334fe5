"""The action to take now: the policy's remedy, under the circumstances. Pure.

The remedies are:

    roll back    if the trouble began with the version that has the traffic: not before its traffic,
                 within response.recent_change of it, and not already with its predecessor. If a
                 rollout still watches that version, the rollout is asked to abort instead.
                 Otherwise the world has changed, and the remedy is retraining.
    hold back    while actions are paused
                 while the model's data are wrong (policy.spoils)
                 verdicts on served values while features are stale, and until the windows with
                 such values are past (policy.UNLABELLED)
                 while another version is being rolled out
                 in the cooldown after an intervention, except for taking back a version that got
                 its traffic after it
                 until there is something new to learn (retrain_after) or to measure
                 (evaluate_after)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from dojo.core.spec.monitoring import Response
from services.responder.policy import ORDER, UNLABELLED, remedy, spoils
from services.responder.state import (
    TAKES_BACK,
    Action,
    ActionKind,
    Incident,
    LatestVerdict,
    ModelState,
)
from services.responder.troubles import GUARDS_FOR, STALE_FOR, current


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The circumstances of a decision.

    Attributes:
        serving: The version with the most traffic, "" if unknown.
        traffic_since: World time since which it has had live traffic. None without a record.
        previous: The version to go back to, "" for none.
        rolling_out: The version of the active rollout, "" for none.
        paused: Who paused actions and why, "" while they run.
    """

    now: datetime
    serving: str
    traffic_since: datetime | None
    previous: str
    rolling_out: str
    paused: str


@dataclass(frozen=True, slots=True)
class ResponseDecision:
    """The action against a trouble and its reason, or the reason for holding it back.

    Attributes:
        seen: The verdict that decided, the worst of the recent ones.
        held: The reason for holding back, "" for an action.
        topic: Name of that reason, so that it is announced once.
    """

    trouble: Incident
    seen: LatestVerdict
    kind: ActionKind
    why: str
    held: str = ""
    topic: str = ""


def decide(state: ModelState, response: Response, world: Circumstances) -> ResponseDecision | None:
    """Return the most urgent trouble's remedy, or why it is held back. None without such a trouble.

    No action begins while another one is in flight.
    """
    if state.action is not None:
        return None
    first_held: ResponseDecision | None = None
    for trouble, seen, kind, why in wanted(state, response, world):
        if not may_begin(kind, state.aside.values()):
            continue
        held = obstacle(state, response, world, trouble, kind)
        if held is None:
            return ResponseDecision(trouble, seen, kind, why)
        first_held = first_held or ResponseDecision(trouble, seen, kind, why, *held)
    return None if state.aside else first_held


def may_begin(kind: ActionKind, aside: Collection[Action]) -> bool:
    """Whether an action may begin beside orders.

    A rollback waits for no order. No action waits for an order that itself waits.
    """
    if any(action.kind == kind for action in aside):
        return False
    return kind in TAKES_BACK or all(action.waits for action in aside)


def wanted(
    state: ModelState, response: Response, world: Circumstances
) -> Iterator[tuple[Incident, LatestVerdict, ActionKind, str]]:
    """Return the troubles of the serving version that ask for more than a message.

    The worst come first, then the ones confirmed by an evaluation, then the oldest. Only recent
    verdicts count. Yesterday's critical hour neither decides nor hides today's severe day.
    """
    ours = [
        (trouble, seen)
        for trouble in state.troubles.values()
        if world.serving in ("", trouble.version)
        and (seen := current(trouble, world.now)) is not None
    ]
    for trouble, seen in sorted(
        ours, key=lambda o: (-ORDER[o[1].severity], not o[0].degraded, o[0].since, o[0].check)
    ):
        if ORDER[seen.severity] < ORDER["warning"]:
            continue
        match remedy(trouble.check, seen.severity, response):
            case "evaluate" if trouble.degraded:
                yield (
                    trouble,
                    seen,
                    "retrain",
                    f"the champion lost: {trouble.evaluation.get('reason', '')}",
                )
            case "evaluate":
                yield trouble, seen, "evaluate", "whether the champion really lost"
            case "roll_back":
                yield trouble, seen, *back_or_forward(state, response, world, trouble)
            case "notify":
                continue


def back_or_forward(
    state: ModelState, response: Response, world: Circumstances, trouble: Incident
) -> tuple[ActionKind, str]:
    """Roll back a version that brought the trouble. Retrain if the world changed."""
    version, since = trouble.version, world.traffic_since
    if since is None:
        return "retrain", f"when version {version} got its traffic is not on record"
    # The window in which the traffic began also holds time before it.
    longest = timedelta(days=1) if "day" in trouble.windows else timedelta(hours=1)
    if trouble.since < since - longest:
        return "retrain", f"it began before version {version} had traffic ({since:%Y-%m-%d %H:%M})"
    if trouble.since > since + response.recent_change:
        return (
            "retrain",
            (
                f"version {version} has had traffic since {since:%Y-%m-%d %H:%M}: the world has"
                " changed, not the version"
            ),
        )
    if world.previous and state.inherited.get(trouble.check) == world.previous:
        return "retrain", f"version {world.previous} before it had the same trouble"
    began = (
        f"it began within {_words(response.recent_change)} after version {version} got its traffic"
        f" ({since:%Y-%m-%d %H:%M})"
    )
    if world.rolling_out == version:
        return "abort_rollout", began
    if not world.previous:
        return "retrain", f"{began}, and there is no version to go back to"
    return "roll_back", began


def obstacle(
    state: ModelState, response: Response, world: Circumstances, trouble: Incident, kind: ActionKind
) -> tuple[str, str] | None:
    """Return why an action is held back, and the topic of the reason. None for a free way."""
    if world.paused:
        return f"actions are {world.paused}", "paused"
    spoilt = [
        other
        for other in state.troubles.values()
        if (seen := current(other, world.now, GUARDS_FOR)) is not None
        and spoils(other.check, seen.severity)
    ]
    if spoilt:
        names = " and ".join(sorted(other.check for other in spoilt))
        return (
            (
                f"{names} says that the data are broken: nothing is judged by them, and nothing is"
                " trained on them"
            ),
            "broken_data",
        )
    if trouble.check in UNLABELLED and state.stale_at is not None:
        until = state.stale_at + max(STALE_FOR[window] for window in trouble.windows)
        if world.now < until:
            return (
                (
                    f"features were stale at {state.stale_at:%Y-%m-%d %H:%M}: until"
                    f" {until:%Y-%m-%d %H:%M} that may be what has moved"
                ),
                "stale_features",
            )
    if kind in ("retrain", "evaluate") and world.rolling_out:
        return (
            f"version {world.rolling_out} is being rolled out: what it brings is seen first",
            "rollout",
        )
    came_after = (
        state.ended is not None
        and world.traffic_since is not None
        and world.traffic_since > state.ended
    )
    takes_back = kind in ("roll_back", "abort_rollout") and came_after
    if state.ended is not None and not takes_back and world.now < state.ended + response.cooldown:
        until = state.ended + response.cooldown
        return f"cooldown after {state.intervention} until {until:%Y-%m-%d %H:%M}", "cooldown"
    after = {"retrain": trouble.retrain_after, "evaluate": trouble.evaluate_after}.get(kind)
    if after is not None and world.now < after:
        return (
            (
                f"not before {after:%Y-%m-%d %H:%M}, when there is more to"
                f" {'learn from' if kind == 'retrain' else 'measure'}"
            ),
            "later",
        )
    return None


def _words(length: timedelta) -> str:
    return f"{length / timedelta(hours=1):g} h"
